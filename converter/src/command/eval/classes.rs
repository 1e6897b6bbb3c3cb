//! Scores of classes: which one wins, and which classes are taken for which.

use std::collections::BTreeMap;

/// What scores say about one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The class with the highest score; of equal ones the first.
    pub(super) class: usize,
    /// How many classes win over the right one, if that is known: with a higher score, or an equal one
    /// and before it.
    pub(super) above: Option<usize>,
    /// Whether some score is no number; such a score wins over none.
    pub(super) broken: bool,
}

impl Choice {
    pub(super) fn of(scores: &[f32], label: Option<usize>) -> Self {
        let key = |class: usize| match scores[class] {
            score if score.is_nan() => f32::NEG_INFINITY,
            score => score,
        };
        let wins = |a: usize, b: usize| key(a) > key(b) || key(a) == key(b) && a < b;
        let class = (1..scores.len()).fold(0, |best, k| if wins(k, best) { k } else { best });
        let above = |label: usize| (0..scores.len()).filter(|&k| wins(k, label)).count();
        let broken = scores.iter().any(|score| score.is_nan());
        Self { class, above: label.map(above), broken }
    }
}

/// The samples of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) class: usize,
    pub(super) samples: usize,
    pub(super) right: usize,
    /// What the others were taken for, most often first, and how often.
    pub(super) taken_for: Vec<(usize, usize)>,
}

/// Every class that was mistaken, the one with the smallest share of right answers first.
pub(super) fn mistaken(pairs: impl Iterator<Item = (usize, usize)>) -> Vec<Row> {
    let mut counts: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (label, class) in pairs {
        *counts.entry(label).or_default().entry(class).or_default() += 1;
    }
    let row = |(class, of): (usize, BTreeMap<usize, usize>)| {
        let samples = of.values().sum();
        let right = of.get(&class).copied().unwrap_or(0);
        let mut taken_for: Vec<_> = of.into_iter().filter(|(other, _)| *other != class).collect();
        taken_for.sort_by_key(|&(other, count)| (usize::MAX - count, other));
        Row { class, samples, right, taken_for }
    };
    let mut rows: Vec<Row> =
        counts.into_iter().map(row).filter(|row| row.right < row.samples).collect();
    // Shares as products: no division, no rounding.
    rows.sort_by(|a, b| {
        (a.right * b.samples).cmp(&(b.right * a.samples)).then(a.class.cmp(&b.class))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins_and_of_equal_ones_the_first() {
        let scores = [0.5, 2.0, f32::NAN, 2.0, -1.0];
        let choice = |label| Choice::of(&scores, Some(label));
        assert_eq!((choice(1).class, choice(1).broken), (1, true));
        let above = [0, 1, 2, 3, 4].map(|label| choice(label).above);
        assert_eq!(above, [Some(2), Some(0), Some(4), Some(1), Some(3)]);
        let first = Choice { class: 0, above: None, broken: true };
        assert_eq!(Choice::of(&[f32::NAN; 3], None), first);
    }

    #[test]
    fn the_most_mistaken_class_comes_first() {
        let pairs = [(0, 0), (0, 0), (0, 1), (1, 1), (2, 0), (2, 1), (2, 1), (2, 2)];
        let rows = mistaken(pairs.into_iter());
        let expected = [
            Row { class: 2, samples: 4, right: 1, taken_for: vec![(1, 2), (0, 1)] },
            Row { class: 0, samples: 3, right: 2, taken_for: vec![(1, 1)] },
        ];
        assert_eq!(rows, expected);
    }
}
