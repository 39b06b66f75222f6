//! Configurations that come with the program, by name.
//!
//! A preset is a configuration file like any other: what it does not say is as by default. A file of that name goes before it.

/// Name and text of every preset.
const PRESETS: [(&str, &str); 3] = [
    ("xlstm-125m", include_str!("../presets/xlstm-125m.toml")),
    ("xlstm[7:1]", include_str!("../presets/xlstm[7:1].toml")),
    ("xlstm-7b", include_str!("../presets/xlstm-7b.toml")),
];

/// The text of a preset.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainingConfig;
    use crate::library::ModelSource;
    use crate::model::Model;
    use std::path::Path;

    #[test]
    fn every_preset_is_a_model_of_its_size() {
        let sizes = [("xlstm-125m", 110e6..170e6), ("xlstm[7:1]", 110e6..180e6), ("xlstm-7b", 6.5e9..7.2e9)];
        assert_eq!(names().collect::<Vec<_>>(), sizes.clone().map(|(name, _)| name));
        for (name, size) in sizes {
            let config = TrainingConfig::load(Some(Path::new(name)), &[]).unwrap();
            let source = ModelSource::load(config.model_file.as_deref(), None).unwrap();
            let model =
                Model::new(&source, &config.model).unwrap_or_else(|failed| panic!("{name}: {failed}"));
            let parameters = model.layout().elements() as f64;
            assert!(size.contains(&parameters), "{name} has {parameters} parameters");
        }
    }
}
