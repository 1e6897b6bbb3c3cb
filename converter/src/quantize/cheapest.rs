//! The cheapest set of layers that has to stay in float.
//!
//! What a set of layers brings is only known when the network has run; how much each brings by itself tells
//! where to look. Noise of different layers adds up nearly, so this is the covering knapsack, and its
//! greedy solution a good start: layers in order of gain for cost until it is enough, then without those
//! that are not needed after all, then with a cheaper one in the place of a dear one.

/// Trials of a cheaper layer in the place of another.
const SWAPS: usize = 64;

/// A layer that may stay in float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What float costs: multiply-accumulates.
    pub cost: u64,
    /// Noise that is gone without its integers.
    pub gain: f64,
}

/// Numbers of the chosen candidates, ascending. `enough` says whether a set will do; it is asked about sets
/// in ascending order. `None` where not even all of them are enough.
///
/// # Errors
/// Those of `enough`.
pub fn cheapest<E>(
    candidates: &[Candidate],
    mut enough: impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Option<Vec<usize>>, E> {
    let mut will_do = |set: &[usize]| {
        let mut set = set.to_vec();
        set.sort_unstable();
        enough(&set)
    };
    let Some(mut chosen) = prefix(&by_gain(candidates), &mut will_do)? else { return Ok(None) };
    // The dearest first: each may make others needless.
    chosen.sort_by_key(|&k| std::cmp::Reverse(candidates[k].cost));
    drop_needless(&mut chosen, &mut will_do)?;
    swap(candidates, &mut chosen, &mut will_do)?;
    chosen.sort_unstable();
    Ok(Some(chosen))
}

/// The candidates in order of gain for cost.
fn by_gain(candidates: &[Candidate]) -> Vec<usize> {
    let worth = |k: &usize| candidates[*k].gain / candidates[*k].cost.max(1) as f64;
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    order
}

/// The shortest beginning of `order` that is enough, if more is never worse.
fn prefix<E>(
    order: &[usize],
    enough: &mut impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<Option<Vec<usize>>, E> {
    let (mut too_few, mut length) = (None, 0);
    while !enough(&order[..length])? {
        if length == order.len() {
            return Ok(None);
        }
        too_few = Some(length);
        length = (2 * length).clamp(1, order.len());
    }
    let mut low = too_few.map_or(0, |few| few + 1);
    while low < length {
        let middle = low.midpoint(length);
        if enough(&order[..middle])? { length = middle } else { low = middle + 1 }
    }
    Ok(Some(order[..length].to_vec()))
}

fn drop_needless<E>(
    chosen: &mut Vec<usize>,
    enough: &mut impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < chosen.len() {
        let fewer: Vec<usize> =
            chosen.iter().enumerate().filter(|(k, _)| *k != at).map(|(_, &c)| c).collect();
        if enough(&fewer)? { *chosen = fewer } else { at += 1 }
    }
    Ok(())
}

/// Puts a cheaper candidate in the place of another where that is enough.
fn swap<E>(
    candidates: &[Candidate],
    chosen: &mut [usize],
    enough: &mut impl FnMut(&[usize]) -> Result<bool, E>,
) -> Result<(), E> {
    let mut by_cost: Vec<usize> = (0..candidates.len()).collect();
    by_cost.sort_by_key(|&k| candidates[k].cost);
    let mut trials = 0;
    for at in 0..chosen.len() {
        for &other in &by_cost {
            let dear = chosen[at];
            if candidates[other].cost >= candidates[dear].cost || trials == SWAPS {
                break;
            }
            if chosen.contains(&other) {
                continue;
            }
            trials += 1;
            chosen[at] = other;
            if enough(chosen)? {
                break;
            }
            chosen[at] = dear;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Candidate, cheapest};
    use std::convert::Infallible;

    fn noise(at: u64) -> f64 {
        ((at as f64 + 1.0) * 12.9898).sin().abs()
    }

    /// Costs and gains without a pattern.
    fn layers(count: u64, seed: u64) -> Vec<Candidate> {
        let layer = |k: u64| Candidate {
            cost: 1 + (100.0 * noise(seed * 97 + k)) as u64,
            gain: noise(seed * 31 + 7 * k + 3),
        };
        (0..count).map(layer).collect()
    }

    fn cost(layers: &[Candidate], set: &[usize]) -> u64 {
        set.iter().map(|&k| layers[k].cost).sum()
    }

    #[test]
    fn the_choice_is_enough_needs_all_its_members_and_is_near_the_cheapest() {
        let mut ratio = 0.0_f64;
        for seed in 0..40 {
            let layers = layers(9, seed);
            let total: f64 = layers.iter().map(|layer| layer.gain).sum();
            let bound = total * (0.1 + 0.8 * noise(seed));
            let enough = |set: &[usize]| set.iter().map(|&k| layers[k].gain).sum::<f64>() >= bound;
            let found = cheapest(&layers, |set| Ok::<_, Infallible>(enough(set))).unwrap().unwrap();
            assert!(enough(&found));
            for left_out in &found {
                let fewer: Vec<usize> = found.iter().copied().filter(|k| k != left_out).collect();
                assert!(!enough(&fewer), "{left_out} is not needed");
            }
            let sets = (0..1_usize << layers.len())
                .map(|bits| (0..layers.len()).filter(|k| bits >> k & 1 == 1).collect::<Vec<_>>());
            let best = sets.filter(|set| enough(set)).map(|set| cost(&layers, &set)).min().unwrap();
            ratio = ratio.max(cost(&layers, &found) as f64 / best.max(1) as f64);
        }
        assert!(ratio < 1.5, "{ratio}");
    }

    #[test]
    fn nothing_is_chosen_where_nothing_is_needed_and_nothing_where_all_is_too_little() {
        let layers = layers(5, 1);
        assert_eq!(cheapest(&layers, |_| Ok::<_, Infallible>(true)), Ok(Some(Vec::new())));
        assert_eq!(cheapest(&layers, |_| Ok::<_, Infallible>(false)), Ok(None));
        assert_eq!(cheapest(&layers, |_| Err("broken")), Err("broken"));
    }
}
