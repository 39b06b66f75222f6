//! The `key=value` words of a directive.

use carousel_ir::DType;
use carousel_ir::text::{ConfigValue, Options};
use std::collections::BTreeMap;
use std::ops::Range;

/// What the words of a directive say.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `bind`, `config`, `map` and `dtype`.
    pub(super) elaboration: Options,
    /// `fn`.
    pub(super) function: Option<String>,
    /// `wrt`.
    pub(super) wrt: Option<Vec<String>>,
    /// `tol`.
    pub(super) tolerance: Option<f64>,
    /// `SYMBOL=N`.
    pub(super) sizes: BTreeMap<String, u64>,
    /// `in`; the one without a name is for all inputs.
    pub(super) ranges: BTreeMap<String, Range<f64>>,
}

impl Settings {
    /// Reads words, later ones over earlier ones.
    pub(super) fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Settings, String> {
        let mut settings = Settings {
            elaboration: Options::default(),
            function: None,
            wrt: None,
            tolerance: None,
            sizes: BTreeMap::new(),
            ranges: BTreeMap::new(),
        };
        for word in words {
            settings.word(word).map_err(|why| format!("option `{word}`: {why}"))?;
        }
        Ok(settings)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or("not of the form key=value")?;
        match key {
            "fn" => self.function = Some(value.to_string()),
            "wrt" => self.wrt = Some(value.split(',').map(str::to_string).collect()),
            "tol" => self.tolerance = Some(number(value)?),
            "dtype" => self.elaboration.dtype = DType::parse(value).ok_or("there is no such dtype")?,
            "bind" => {
                for (axis, size) in pairs(value, '=')? {
                    self.elaboration.sizes.insert(axis.to_string(), count(size)?);
                }
            }
            "config" => {
                for (name, value) in pairs(value, '=')? {
                    self.elaboration.config.insert(name.to_string(), config_value(value)?);
                }
            }
            "map" => {
                for (input, axes) in pairs(value, ':')? {
                    let axes = axes.split('.').map(str::to_string).collect();
                    self.elaboration.map.insert(input.to_string(), axes);
                }
            }
            "in" => {
                for range in value.split(',') {
                    let (input, range) = range.split_once(':').unwrap_or(("", range));
                    let (low, high) = range.split_once("..").ok_or("a range is LOW..HIGH")?;
                    self.ranges.insert(input.to_string(), number(low)?..number(high)?);
                }
            }
            symbol => {
                self.sizes.insert(symbol.to_string(), count(value)?);
            }
        }
        Ok(())
    }
}

fn pairs(list: &str, between: char) -> Result<Vec<(&str, &str)>, String> {
    let pair = |item: &'_ str| -> Result<_, String> {
        let at = item.find(between).ok_or(format!("`{item}` has no `{between}`"))?;
        Ok((at, item.len()))
    };
    list.split(',')
        .map(|item| pair(item).map(|(at, _)| (&item[..at], &item[at + between.len_utf8()..])))
        .collect()
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a size"))
}

fn config_value(text: &str) -> Result<ConfigValue, String> {
    if let Some(list) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let items = list.split(';').filter(|item| !item.is_empty());
        let items: Result<Vec<i64>, _> = items.map(str::parse).collect();
        return items.map(ConfigValue::List).map_err(|_| format!("`{text}` is not a set of integers"));
    }
    Ok(match (text, text.parse::<i64>(), text.parse::<f64>()) {
        ("true" | "false", ..) => ConfigValue::Bool(text == "true"),
        (_, Ok(integer), _) => ConfigValue::Int(integer),
        (_, _, Ok(number)) => ConfigValue::Float(number),
        _ => ConfigValue::Text(text.to_string()),
    })
}
