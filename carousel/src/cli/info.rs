//! `carousel info`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use carousel_ir::{Axis, Name};
use carousel_models::operations::operations;
use carousel_passes::carry::{STATE, Summaries, carry};

use super::common::{Failure, tell};
use super::loaded::Loaded;

/// Size and cost of the model in a folder.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  carousel info runs/default/checkpoint")]
pub(super) struct Arguments {
    /// Folder of the checkpoint, also of one that another program wrote.
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = Loaded::open(&arguments.checkpoint)?;
    let (module, function) = loaded.model.inference();
    let symbols = BTreeMap::from([(Name::new("b"), 1), (Name::new("s"), 1)]);
    let flops = operations(module, function, &symbols);
    // What a text leaves behind, as the equations have it.
    let state =
        carry(module, function, Axis::new("s"), Summaries::Refused).ok().and_then(|(module, function)| {
            let graph = &module[function].graph;
            let states = graph.inputs.iter().filter(|input| input.name.as_str().starts_with(STATE));
            let elements = states.map(|input| {
                graph.axes.elements(&input.ty.axes).evaluate(&|name| symbols.get(&name).copied())
            });
            elements.sum::<Option<u64>>()
        });
    let parameters = loaded.model.layout().elements() as u64;
    let files = loaded.external.as_ref().map(|external| external.bytes_by_dtype()).unwrap_or_default();
    let format = loaded.external.as_ref().map_or("carousel", |external| external.format().description());
    let configuration: BTreeMap<String, String> = loaded
        .external
        .iter()
        .flat_map(|external| &external.configuration().parameters)
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect();
    if arguments.json {
        let object = serde_json::json!({
            "format": format,
            "parameters": parameters,
            "tokenizer": loaded.tokenizer.as_ref().map(|tokenizer| tokenizer.name()),
            "vocabulary": loaded.model.vocabulary(),
            "flops_per_token": flops,
            "weight_bytes": loaded.parameters.bytes(),
            "file_bytes": files,
            "state_bytes": state.map(|elements| 4 * elements),
            "configuration": configuration,
        });
        return tell(&format!("{object}\n"));
    }
    let mut text = format!("checkpoint of           {format}\n");
    text += &format!("parameters              {parameters}\n");
    text += &format!("vocabulary              {}\n", loaded.model.vocabulary());
    if let Some(tokenizer) = &loaded.tokenizer {
        text += &format!("tokenizer               {}\n", tokenizer.name());
    }
    if let Some(flops) = flops {
        text += &format!("operations a token      {flops}\n");
    }
    text += &format!("weights in memory       {} bytes\n", loaded.parameters.bytes());
    for (dtype, bytes) in files {
        text += &format!("weights in files        {bytes} bytes of {dtype}\n");
    }
    match state {
        Some(elements) => text += &format!("state of a text         {} bytes\n", 4 * elements),
        None => text += "state of a text         the model needs the whole text for each token\n",
    }
    for (name, value) in configuration {
        text += &format!("  {name} = {value}\n");
    }
    tell(&text)
}
