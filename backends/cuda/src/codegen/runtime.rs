//! What generated kernels call: pieces of CUDA C++ that are put in front of a kernel that needs them.

/// A piece, with the names that stand for it. What it needs stands before it.
struct Piece {
    names: &'static [&'static str],
    text: &'static str,
}

#[rustfmt::skip]
const PIECES: [Piece; 11] = [
    Piece { names: &[], text: include_str!("../runtime/types.cuh") },
    Piece { names: &["quotient", "remainder", "inside", "checked_index", "tile_extent"],
            text: include_str!("../runtime/index.cuh") },
    Piece { names: &["from_bf16", "to_bf16", "round_bf16", "from_f16", "to_f16", "round_f16", "sign", "smaller", "larger", "state_after", "sigmoid", "log_sigmoid",
                     "to_i32", "to_u32", "divided", "Larger"],
            text: include_str!("../runtime/numbers.cuh") },
    Piece { names: &["philox_uniform", "philox_fold_in"], text: include_str!("../runtime/random.cuh") },
    Piece { names: &["Sum", "Larger", "combine_warp", "combine_block", "combine_parts", "combine_before"],
            text: include_str!("../runtime/reduce.cuh") },
    Piece { names: &["state_before"], text: include_str!("../runtime/steps.cuh") },
    Piece { names: &["wait_for_team", "swap_places"], text: include_str!("../runtime/team.cuh") },
    Piece { names: &["load_run", "store_run", "elements_left"], text: include_str!("../runtime/runs.cuh") },
    Piece { names: &["product_by_threads", "product_by_columns", "product_by_warps", "product_in_tiles", "product_tiles"],
            text: include_str!("../runtime/product.cuh") },
    Piece { names: &["product_of_share"], text: include_str!("../runtime/share.cuh") },
    Piece { names: &["product_on_tensor_cores"], text: include_str!("../runtime/tensor_cores.cuh") },
];

/// The pieces that a text needs, in order.
pub(super) fn needed(text: &str) -> String {
    let mut all = text.to_string();
    let mut chosen = Vec::new();
    // What a piece needs stands before it: from the last one on, a needed piece adds its own needs.
    for piece in PIECES.iter().rev() {
        if piece.names.is_empty() || piece.names.iter().any(|name| has_word(&all, name)) {
            all += piece.text;
            chosen.push(piece.text);
        }
    }
    chosen.reverse();
    chosen.join("\n")
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}
