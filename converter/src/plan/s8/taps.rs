//! Resampling of integers: weights in units of `2^-11`, so that those of a row and a column multiply in 32
//! bits, and values that are the same stay the same.

use super::super::lower::Lowering;
use crate::graph::Node;
use crate::resize::Taps;
use unbraid_runtime::step::Element;

/// What the weights of a run add up to.
const ONE: i32 = 1 << 11;

impl Lowering<'_> {
    /// What a resampling works on: the integers that the operand lies as, if elements are only picked, or
    /// the result is to be on the same grid and weighted sums of it stay on it; otherwise f32.
    pub(in crate::plan) fn resampled(&self, node: &Node, taps: &[(usize, Taps)]) -> Element {
        let own = node.inputs.first().map_or(Element::F32, |&id| self.kept(id));
        let whole = |taps: &Taps| taps.runs().all(|(_, weights)| integers(weights).is_some());
        let picked =
            |taps: &Taps| taps.weights.iter().all(|&weight| weight == 0.0 || weight == 1.0);
        let all = |holds: &dyn Fn(&Taps) -> bool| taps.iter().all(|(_, taps)| holds(taps));
        let fits = all(&whole) && (all(&picked) || self.wanted(node.output) == own);
        if fits { own } else { Element::F32 }
    }
}

/// Runs of weights as the runtime reads them, each behind the first of its elements.
pub(in crate::plan) fn table(taps: &Taps) -> Vec<i32> {
    let entry = |(first, weights): (usize, &[f64])| {
        let weights = integers(weights).unwrap_or_default();
        std::iter::once(first as i32).chain(weights).collect::<Vec<_>>()
    };
    taps.runs().flat_map(entry).collect()
}

/// The nearest integers that add up to [`ONE`]: what rounding down leaves goes to those that lose the most.
/// `None` if the weights do not add up to 1.
fn integers(weights: &[f64]) -> Option<Vec<i32>> {
    let exact: Vec<f64> = weights.iter().map(|weight| weight * f64::from(ONE)).collect();
    if (weights.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
        return None;
    }
    let mut integers: Vec<i32> = exact.iter().map(|v| v.floor() as i32).collect();
    let missing = usize::try_from(ONE - integers.iter().sum::<i32>()).ok()?;
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| (exact[b] - exact[b].floor()).total_cmp(&(exact[a] - exact[a].floor())));
    order.iter().take(missing).for_each(|&k| integers[k] += 1);
    Some(integers).filter(|integers| integers.iter().sum::<i32>() == ONE)
}

#[cfg(test)]
mod tests {
    use super::{ONE, integers};

    #[test]
    fn weights_add_up_to_one_and_are_the_nearest_that_do() {
        let thirds = integers(&[1.0 / 3.0; 3]).unwrap();
        assert_eq!((thirds.iter().sum::<i32>(), thirds[0]), (ONE, 683));
        assert_eq!(integers(&[0.0, 1.0]).unwrap(), [0, ONE]);
        let cubic = [-0.09375, 0.59375, 0.59375, -0.09375];
        assert_eq!(integers(&cubic).unwrap(), [-192, 1216, 1216, -192]);
        assert_eq!(integers(&[0.5, 0.25]), None, "what lies outside has no weight");
    }
}
