//! Blocks of a language model on something else: handwritten digits, read as sequences of eight rows of pixels from above and
//! from below (`models/sequence.xl`), learned in seconds.
//!
//! `cargo run --release --example digits`

use std::collections::BTreeMap;
use std::error::Error;

use carousel_core::backend::{Data, DataMut, Executable, Tensor};
use carousel_ir::Module;
use carousel_ir::text::{ConfigValue, Options, elaborate, parse_program};
use carousel_models::arena::Arena;
use carousel_models::compile::{Engine, loss_gradient};
use carousel_models::config::AdamW;
use carousel_models::library::bundled;
use carousel_models::optimizer::{Optimizer, Update};
use carousel_models::parameters::Layout;
use carousel_models::philox::{Philox, Stream, below, join};

/// Steps of a picture, and features of a step.
const SIDE: usize = 8;
/// Pictures of an update.
const BATCH: usize = 48;

/// Pictures with their digits.
struct Pictures {
    pixels: Vec<f32>,
    digits: Vec<i32>,
}

impl Pictures {
    /// Those to learn from, and every fifth one, which shows what was learned.
    fn read() -> [Pictures; 2] {
        let mut sets = [(); 2].map(|()| Pictures { pixels: Vec::new(), digits: Vec::new() });
        let lines = include_str!("digits.txt").lines().filter(|line| !line.starts_with('#'));
        for (place, line) in lines.enumerate() {
            let (pixels, digit) = line.split_at(SIDE * SIDE);
            let set = &mut sets[usize::from(place % 5 == 4)];
            let levels = pixels.chars().map(|c| c.to_digit(17).expect("a pixel is 0 to g"));
            set.pixels.extend(levels.map(|level| level as f32 / 16.0));
            set.digits.push(digit.trim().parse().expect("a digit stands behind its picture"));
        }
        sets
    }

    fn chosen(&self, places: impl Iterator<Item = usize>) -> Pictures {
        let mut chosen = Pictures { pixels: Vec::new(), digits: Vec::new() };
        for place in places {
            chosen.pixels.extend_from_slice(&self.pixels[place * SIDE * SIDE..(place + 1) * SIDE * SIDE]);
            chosen.digits.push(self.digits[place]);
        }
        chosen
    }
}

/// A compiled function of the model: pictures, digits and parameters in.
struct Function<'a> {
    executable: Box<dyn Executable>,
    layout: &'a Layout,
}

impl Function<'_> {
    /// The loss and the logits of each picture; gradients go to `gradients`, if the function has them.
    fn run(
        &self,
        parameters: &[f32],
        pictures: &Pictures,
        gradients: &mut [f32],
    ) -> Result<(f32, Vec<f32>), Box<dyn Error>> {
        let rows = pictures.digits.len();
        let [shape, steps, labels] = [vec![rows, SIDE, SIDE], vec![rows, SIDE], vec![rows]]
            .map(|shape| shape.into_iter().map(|n| n as u64).collect::<Vec<u64>>());
        let used = vec![-1; rows * SIDE];
        let of = |p: &carousel_models::parameters::Parameter| p.shape.iter().map(|n| *n as u64).collect();
        let shapes: Vec<Vec<u64>> = self.layout.parameters().iter().map(of).collect();
        let inputs = self.executable.inputs().iter().map(|port| match port.name.as_str() {
            "features" => Tensor { data: Data::F32(&pictures.pixels), shape: &shape },
            "used" => Tensor { data: Data::Bool(&used), shape: &steps },
            "labels" => Tensor { data: Data::I32(&pictures.digits), shape: &labels },
            _ => {
                let find = |p: &carousel_models::parameters::Parameter| p.name == port.name;
                let at = self.layout.parameters().iter().position(find).expect("all others are parameters");
                let range = self.layout.parameters()[at].range.clone();
                Tensor { data: Data::F32(&parameters[range]), shape: &shapes[at] }
            }
        });
        let inputs: Vec<Tensor<'_>> = inputs.collect();
        let (mut loss, mut logits) = ([0.0], vec![0.0; rows * 10]);
        let (mut loss_part, mut logits_part) = (Some(&mut loss[..]), Some(&mut logits[..]));
        let parts = self.layout.gradients(self.executable.outputs(), gradients);
        let outputs = self.executable.outputs().iter().zip(parts).map(|(port, part)| {
            let own = if port.name.as_str() == "loss" { loss_part.take() } else { None };
            DataMut::F32(part.or(own).or_else(|| logits_part.take()).unwrap_or_default())
        });
        let mut outputs: Vec<DataMut<'_>> = outputs.collect();
        self.executable.run(&inputs, &mut outputs)?;
        drop(outputs);
        Ok((loss[0], logits))
    }
}

/// How many of these pictures the model names rightly.
fn accuracy(function: &Function<'_>, parameters: &[f32], pictures: &Pictures) -> Result<f64, Box<dyn Error>> {
    let (_, logits) = function.run(parameters, pictures, &mut vec![0.0; parameters.len()])?;
    let best = |row: &[f32]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as i32;
    let right = logits.chunks(10).zip(&pictures.digits).filter(|(row, digit)| best(row) == **digit).count();
    Ok(right as f64 / pictures.digits.len() as f64)
}

fn classifier() -> Result<Module, Box<dyn Error>> {
    let file = "models/sequence.xl";
    let load = |path: &str| bundled(path).map(str::to_string).ok_or(format!("no file `{path}`"));
    let program = parse_program(file, &load(file)?, &load).map_err(|failed| failed.to_string())?;
    let sizes = BTreeMap::from([("f".to_string(), SIDE as u64)]);
    let config = BTreeMap::from([("classes".to_string(), ConfigValue::Int(10))]);
    let options = Options { sizes, config, ..Options::default() };
    Ok(elaborate(&program, &["classify"], &options).map_err(|problems| format!("{problems:?}"))?)
}

/// Trains for so many updates; the part of the pictures kept back whose digit is then found.
pub(crate) fn learn(
    updates: u64,
    threads: Option<usize>,
    mut tell: impl FnMut(u64, f32),
) -> Result<f64, Box<dyn Error>> {
    let [train, kept_back] = Pictures::read();
    let engine = Engine::cpu(threads);
    let module = engine.prepared(&classifier()?);
    let root = module.find("classify").expect("it was elaborated");
    let layout = Layout::new(&module[root].graph).map_err(|problem| problem.to_string())?;
    let compile =
        |module: &Module, root| engine.compile(module, root).map_err(|problems| format!("{problems:?}"));
    let (with_gradient, gradient) =
        loss_gradient(&module, root, "loss").map_err(|problems| format!("{problems:?}"))?;
    let gradient = Function { executable: compile(&with_gradient, gradient)?, layout: &layout };
    let forward = Function { executable: compile(&module, root)?, layout: &layout };
    let mut optimizer = Optimizer::new(&engine, &layout, layout.initial(0)?)?;
    let random = Philox::new(0, Stream::Data);
    for step in 0..updates {
        let places = (0..BATCH as u64).map(|row| {
            let [low, high, ..] = random.block_at(step, row);
            below(join(low, high), train.digits.len() as u64) as usize
        });
        let mut gradients = vec![0.0; layout.elements()];
        let (loss, _) = gradient.run(&optimizer.values()?, &train.chosen(places), &mut gradients)?;
        let gradients = Arena::here(gradients);
        let learning_rate = 5e-3 * (1.0 - step as f64 / updates as f64);
        let update = Update { adamw: &AdamW::default(), step, learning_rate, clip: 1.0 };
        optimizer.update(&gradients, update)?;
        tell(step, loss);
    }
    accuracy(&forward, &optimizer.values()?, &kept_back)
}

fn main() -> Result<(), Box<dyn Error>> {
    let found = learn(600, None, |step, loss| {
        if step % 50 == 0 {
            println!("update {step}: loss {loss:.3}");
        }
    })?;
    println!("{:.1} % of the digits that were kept back are named rightly", 100.0 * found);
    Ok(())
}
