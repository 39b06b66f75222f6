//! The plain evaluator: the meaning of every operation, over f32, f64 and extended-range numbers.
