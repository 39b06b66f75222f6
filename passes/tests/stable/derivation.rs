//! What is derived.

use crate::cells;
use crate::support::stable;
use carousel_ir::print;

#[test]
fn show() {
    for text in [cells::MLSTM, cells::SLSTM, cells::MLSTM_LOG_FORGET, cells::MLSTM_EXP, cells::SLSTM_PLAIN, cells::RWKV4, cells::TWO_MEMORIES,
        cells::PER_KEY, cells::ONLINE_SOFTMAX, cells::MIXED, cells::PRODUCT, cells::COUPLED, cells::LINEAR_ATTENTION, cells::NO_NORMALISER, cells::TANH, cells::PUBLISHED] {
        let t = std::time::Instant::now();
        let (module, _, report) = stable(text);
        eprintln!("{:?}\n{report}", t.elapsed());
        eprintln!("{}", print(&module));
    }
}
