//! The recurrences of these tests: functions of texts, some inputs with further axes, derived by the test kit.

use carousel_ir::text::Options;
use carousel_testkit::recurrence::{Recurrence, module};
use std::collections::BTreeMap;

/// Inputs with the further axes that they get.
pub(crate) type Map = BTreeMap<String, Vec<String>>;

/// Derives a function of a text.
pub(crate) fn recurrence(text: &str, function: &str, map: &Map) -> Recurrence {
    recurrence_with_law(text, text, function, map)
}

/// The same where `law` has the equations in another way, in which nothing cancels.
pub(crate) fn recurrence_with_law(text: &str, law: &str, function: &str, map: &Map) -> Recurrence {
    let options = Options { map: map.clone(), ..Options::default() };
    let elaborated = |text| module(text, function, &options).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let ((module, root), (law, _)) = (elaborated(text), elaborated(law));
    Recurrence::with_law(&module, root, &law).unwrap_or_else(|why| panic!("{why}\n{text}"))
}
