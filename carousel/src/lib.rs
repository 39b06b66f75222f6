//! A graph compiler and autodiff engine for recurrent models: the library that users depend on, and the command line.
