//! Kernel IR, lowering, fusion, buffer plan and the backend interface.
