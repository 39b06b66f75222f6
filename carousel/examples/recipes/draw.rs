//! Tables and plots out of recorded results.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::study::{Measure, Plot, Results, Run, Studies, Study, Variant};

const DOCUMENT: &str = "docs/recipes.md";
/// Of variants, in their order; told apart by people who see few colours, too (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];
/// Sizes of examples that are one point of a plot.
const BIN: u64 = 24;

/// Every file that is made of the results, with its text.
pub(crate) fn documents(root: &Path, studies: &Studies) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut document = fs::read_to_string(root.join(DOCUMENT))?;
    let mut files = Vec::new();
    for study in &studies.study {
        let results = Results::read(root, study)?;
        document = with_table(&document, study, &table(study, &results)?)?;
        files.push((format!("docs/{}.svg", study.name), plot(study, &results)?));
    }
    files.push((DOCUMENT.to_string(), document));
    Ok(files)
}

/// The document with the table between the study's marks.
fn with_table(document: &str, study: &Study, table: &str) -> Result<String, Box<dyn Error>> {
    let marks = [format!("<!-- {} -->\n", study.name), format!("<!-- end of {} -->\n", study.name)];
    let missing = || format!("{DOCUMENT} has no place for the table of {}", study.name);
    let (before, rest) = document.split_once(&marks[0]).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&marks[1]).ok_or_else(missing)?;
    Ok([before, &marks[0], table, &marks[1], after].concat())
}

/// One row a variant: what the seeds reach, in their order, and their mean.
fn table(study: &Study, results: &Results) -> Result<String, Box<dyn Error>> {
    let mut text = format!(
        "| model | | parameters | {} of each seed | mean | seconds a run | paper, {} |\n|---|---|---|---|---|---|---|\n",
        study.measure.name(),
        study.paper
    );
    for variant in &study.variant {
        let runs: Vec<&Run> = results.of(variant).collect();
        let first = runs.first().ok_or_else(|| format!("nothing is recorded of {}", variant.name))?;
        let values: Vec<f64> = runs.iter().map(|run| study.measure.of(run)).collect();
        let each: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let longest = runs.iter().map(|run| run.seconds).fold(0.0, f64::max);
        let Variant { name, what, paper, .. } = variant;
        let (parameters, each) = (first.parameters, each.join(", "));
        writeln!(text, "| {name} | {what} | {parameters} | {each} | {mean:.3} | {longest:.0} | {paper} |")?;
    }
    Ok(text)
}

/// The points of a run.
fn points(study: &Study, run: &Run) -> Vec<(f64, f64)> {
    match study.plot {
        Plot::Steps => run.curve.iter().map(|(step, value)| (*step as f64, *value)).collect(),
        Plot::Sizes => {
            let bins = run.by_size.chunk_by(|a, b| a[0] / BIN == b[0] / BIN);
            let point = |bin: &[[u64; 3]]| {
                let [size, right, asked] =
                    bin.iter().fold([0, 0, 0], |sum, [s, r, a]| [sum[0] + s, sum[1] + r, sum[2] + a]);
                (size as f64 / bin.len() as f64, right as f64 / asked.max(1) as f64)
            };
            bins.map(point).collect()
        }
    }
}

/// One line a run, in the colour of its variant.
fn plot(study: &Study, results: &Results) -> Result<String, Box<dyn Error>> {
    let runs: Vec<(usize, Vec<(f64, f64)>)> = (study.variant.iter().enumerate())
        .flat_map(|(place, variant)| results.of(variant).map(move |run| (place, points(study, run))))
        .collect();
    let all = || runs.iter().flat_map(|(_, points)| points);
    let (left, right) = all().fold((f64::INFINITY, 0f64), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
    let (low, high) = match study.measure {
        Measure::Accuracy | Measure::ScaledAccuracy => (0.0, 1.05),
        Measure::BitsPerByte => {
            let lowest = all().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
            (lowest.floor(), all().map(|(_, y)| *y).fold(0.0, f64::max).ceil())
        }
    };
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (760, 400)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&study.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(left..right, low..high)?;
        let along = match study.plot {
            Plot::Sizes => "length",
            Plot::Steps => "updates",
        };
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 15))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .x_desc(along)
            .y_desc(if let Measure::BitsPerByte = study.measure { "bits a byte" } else { "accuracy" })
            .draw()?;
        for (place, variant) in study.variant.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            // Thinner ones on top, so that lines at the same place are seen.
            let width = 1 + (study.variant.len() - place) as u32;
            let mut label = Some(variant.name.as_str());
            for (_, points) in runs.iter().filter(|(of, _)| *of == place) {
                let line = chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(width)))?;
                if let Some(label) = label.take() {
                    line.label(label).legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3))
                    });
                }
            }
        }
        let corner = match study.measure {
            Measure::BitsPerByte => SeriesLabelPosition::UpperRight,
            Measure::Accuracy | Measure::ScaledAccuracy => SeriesLabelPosition::LowerRight,
        };
        chart
            .configure_series_labels()
            .position(corner)
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

const TRANSPARENT: RGBAColor = RGBAColor(0, 0, 0, 0.0);
