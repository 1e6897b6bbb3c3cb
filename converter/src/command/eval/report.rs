//! What `unbraid eval` says: one list of figures, as text and as JSON.

use super::classes::{self, Choice, Row};
use super::execute::{Seen, Verdict};
use super::likeness::decibels;
use crate::command::table::{Table, thousands};
use serde_json::{Value, json};
use unbraid_converter::data::Classes;

/// Classes and pictures that are shown of the worst ones.
const WORST: usize = 5;
/// The right class among so many counts too.
const TOP: usize = 5;

/// All figures.
pub(super) struct Answer<'a> {
    /// Of the networks.
    pub(super) names: &'a [String],
    pub(super) classes: &'a Classes,
    pub(super) seen: &'a [Seen],
    pub(super) sample_name: &'a dyn Fn(usize) -> String,
}

/// How often a network was right.
struct Accuracy {
    right: usize,
    among: usize,
    broken: usize,
    worst: Vec<Row>,
}

/// How like the references a network's pictures are.
struct Likeness {
    /// Of all pixels of all pictures together.
    psnr: f64,
    /// Mean over the pictures; infinite if one is exact.
    mean: f64,
    /// Positions of samples, and theirs.
    worst: Vec<(usize, f64)>,
}

/// How the second network differs from the first.
struct Difference {
    /// Samples with another best class; none where outputs are pictures.
    changed: Option<usize>,
    /// Of all outputs of all samples.
    sqnr: f64,
}

enum Figures {
    Classes(Accuracy),
    Pictures(Likeness),
}

impl<'a> Answer<'a> {
    fn figures(&self, network: usize) -> Figures {
        let verdicts = || self.seen.iter().map(|seen| &seen.verdicts[network]);
        let pictures: Vec<(f64, f64)> = verdicts()
            .filter_map(|verdict| match verdict {
                Verdict::Picture { mean_square, peak } => Some((*mean_square, *peak)),
                Verdict::Class(_) => None,
            })
            .collect();
        if pictures.is_empty() {
            Figures::Classes(self.accuracy(network))
        } else {
            Figures::Pictures(likeness(&pictures))
        }
    }

    /// What a network chose for each sample that has a class.
    fn choices(&self, network: usize) -> impl Iterator<Item = (Option<usize>, Choice)> {
        self.seen.iter().filter_map(move |seen| match &seen.verdicts[network] {
            Verdict::Class(choice) => Some((seen.label, *choice)),
            Verdict::Picture { .. } => None,
        })
    }

    fn accuracy(&self, network: usize) -> Accuracy {
        let among = |top: usize| {
            self.choices(network)
                .filter(|(_, choice)| choice.above.is_some_and(|n| n < top))
                .count()
        };
        let pairs =
            self.choices(network).filter_map(|(label, choice)| Some((label?, choice.class)));
        Accuracy {
            right: among(1),
            among: among(TOP),
            broken: self.choices(network).filter(|(_, choice)| choice.broken).count(),
            worst: classes::mistaken(pairs).into_iter().take(WORST).collect(),
        }
    }

    fn difference(&self) -> Option<Difference> {
        if self.names.len() < 2 {
            return None;
        }
        let changed = |seen: &Seen| match &*seen.verdicts {
            [Verdict::Class(one), Verdict::Class(other), ..] => Some(one.class != other.class),
            _ => None,
        };
        let changed: Option<Vec<bool>> = self.seen.iter().map(changed).collect();
        let [signal, noise] =
            self.seen.iter().fold([0.0; 2], |[s, n], seen| [s + seen.signal, n + seen.noise]);
        let count = |changed: Vec<bool>| changed.into_iter().filter(|&is| is).count();
        Some(Difference { changed: changed.map(count), sqnr: decibels(signal, noise) })
    }

    /// With so few classes the right one is nearly always among the best.
    fn has_top(&self) -> bool {
        self.classes.count.is_some_and(|classes| classes > TOP)
    }

    fn labelled(&self) -> bool {
        self.seen.iter().all(|seen| seen.label.is_some())
    }

    fn share(&self, part: usize) -> f64 {
        part as f64 / self.seen.len() as f64
    }

    fn label(&self, class: usize) -> String {
        let name = self.classes.names.get(class);
        name.map_or_else(|| class.to_string(), |name| format!("{class} {name}"))
    }

    /// Shares are 0 to 1; JSON has no infinity: a ratio is null where nothing differs.
    pub(super) fn json(&self) -> Value {
        let networks = self.names.iter().enumerate().map(|(k, name)| match self.figures(k) {
            Figures::Classes(accuracy) => self.json_of_classes(name, &accuracy),
            Figures::Pictures(likeness) => self.json_of_pictures(name, &likeness),
        });
        json!({
            "samples": self.seen.len(),
            "networks": networks.collect::<Vec<_>>(),
            "difference": self.difference().map(|difference| json!({
                "changed": difference.changed,
                "share": difference.changed.map(|changed| self.share(changed)),
                "sqnr_db": difference.sqnr,
            })),
        })
    }

    fn json_of_classes(&self, name: &str, accuracy: &Accuracy) -> Value {
        let row = |row: &Row| {
            let taken = row.taken_for.iter();
            let taken = taken.map(|(class, count)| json!({ "class": class, "samples": count }));
            json!({
                "class": row.class,
                "label": self.classes.names.get(row.class),
                "samples": row.samples,
                "right": row.right,
                "taken_for": taken.collect::<Vec<_>>(),
            })
        };
        let labelled = self.labelled();
        json!({
            "name": name,
            "right": labelled.then_some(accuracy.right),
            "top1": labelled.then(|| self.share(accuracy.right)),
            "top5": (labelled && self.has_top()).then(|| self.share(accuracy.among)),
            "not_finite": accuracy.broken,
            "worst": accuracy.worst.iter().map(row).collect::<Vec<_>>(),
        })
    }

    fn json_of_pictures(&self, name: &str, likeness: &Likeness) -> Value {
        let worst = likeness
            .worst
            .iter()
            .map(|&(at, psnr)| json!({ "sample": (self.sample_name)(at), "psnr_db": psnr }));
        json!({
            "name": name,
            "psnr_db": likeness.psnr,
            "mean_psnr_db": likeness.mean,
            "worst": worst.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (k, name) in self.names.iter().enumerate() {
            text += &match self.figures(k) {
                Figures::Classes(accuracy) => self.text_of_classes(name, &accuracy),
                Figures::Pictures(likeness) => self.text_of_pictures(name, &likeness),
            };
        }
        if let Some(Difference { changed, sqnr }) = self.difference() {
            let (one, other) = (&self.names[0], &self.names[1]);
            text += &format!("\n{other} against {one}: SQNR of the outputs {sqnr:.1} dB");
            if let Some(changed) = changed {
                let percent = 100.0 * self.share(changed);
                text += &format!("; another best class for {changed} samples, {percent:.2} %");
            }
            text += "\n";
        }
        text
    }

    fn text_of_classes(&self, name: &str, accuracy: &Accuracy) -> String {
        if !self.labelled() {
            return String::new();
        }
        let percent = |part: usize| format!("{:.2} %", 100.0 * self.share(part));
        let (right, all) = (thousands(accuracy.right as u64), thousands(self.seen.len() as u64));
        let mut text = format!("{name}: {right} of {all} right, {}", percent(accuracy.right));
        if self.has_top() {
            text += &format!("; among the best {TOP}: {}", percent(accuracy.among));
        }
        text += "\n";
        if accuracy.broken > 0 {
            text += &format!("{} samples have scores that are no numbers\n", accuracy.broken);
        }
        if accuracy.worst.is_empty() {
            return text;
        }
        let mut table = Table::new(["worst classes", "samples", "right", "taken for"]);
        for row in &accuracy.worst {
            let taken = row.taken_for.iter().take(3);
            let taken: Vec<String> =
                taken.map(|(class, count)| format!("{} ({count})", self.label(*class))).collect();
            let right = format!("{:.1} %", 100.0 * row.right as f64 / row.samples as f64);
            table.row([self.label(row.class), row.samples.to_string(), right, taken.join(", ")]);
        }
        format!("{text}\n{table}")
    }

    fn text_of_pictures(&self, name: &str, likeness: &Likeness) -> String {
        let mut table = Table::new(["worst pictures", "PSNR dB"]);
        for &(at, psnr) in &likeness.worst {
            table.row([(self.sample_name)(at), format!("{psnr:.2}")]);
        }
        let Likeness { psnr, mean, .. } = likeness;
        let all = thousands(self.seen.len() as u64);
        format!(
            "{name}: PSNR {psnr:.2} dB over all pixels of {all} pictures, {mean:.2} dB on average\n\n{table}"
        )
    }
}

/// From the mean square error and the peak of each picture, all of one size.
fn likeness(pictures: &[(f64, f64)]) -> Likeness {
    let each: Vec<f64> =
        pictures.iter().map(|&(square, peak)| decibels(peak * peak, square)).collect();
    let count = pictures.len() as f64;
    let square = pictures.iter().map(|(square, _)| square).sum::<f64>() / count;
    let peak = pictures.first().map_or(0.0, |(_, peak)| *peak);
    let mut worst: Vec<(usize, f64)> = each.iter().copied().enumerate().collect();
    worst.sort_by(|a, b| a.1.total_cmp(&b.1));
    worst.truncate(WORST);
    Likeness { psnr: decibels(peak * peak, square), mean: each.iter().sum::<f64>() / count, worst }
}
