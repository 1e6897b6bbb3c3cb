//! The cheapest cut: which values become one convolution of which earlier value.
//!
//! For each value, from the first to the last, the cheapest way to have it: its node as it is, or
//! one kernel map of one of its dominators. A map is allowed only if it needs neither more
//! multiplications nor more weight bytes than the nodes it replaces, so that a linear 1x1 to few
//! channels before a 1x1 to many, or a depthwise before a pointwise convolution, stays in two
//! factors. [`FuseMode::All`] lifts that, but no map is allowed that the algebra refuses.

use super::flow::Flow;
use super::form::Form;
use super::interpret::{Mapped, interpret};
use super::node_map::{Extent, Role, form_of};
use super::{Cost, FuseMode, Reason};
use crate::graph::{Graph, Op, ValueId};
use std::collections::HashMap;

/// Dominators tried for one value: bounds the work in long linear chains.
const CANDIDATES: usize = 24;
/// Bias vectors that a border may need: a padded 5x5 has 25 classes of pixels.
pub(crate) const BIAS_VECTORS: usize = 25;

/// A stretch of the graph that becomes one kernel map.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// What the map reads.
    pub(super) source: ValueId,
    /// What it gives.
    pub(super) output: ValueId,
    /// The nodes it replaces, in execution order.
    pub(super) nodes: Vec<usize>,
    /// Its geometry, with paddings that fit the size of the graph.
    pub(super) form: Form,
    /// Whether it maps patches, each seen as one pixel.
    pub(super) patch: bool,
    /// What the nodes cost.
    pub(super) before: Cost,
    /// What the map costs.
    pub(super) after: Cost,
}

/// What stays two steps although one map could exist.
#[derive(Debug)]
pub(super) struct Declined {
    /// The nodes.
    pub(super) nodes: Vec<usize>,
    /// Why.
    pub(super) reason: Reason,
}

/// Chooses the cheapest cover of all regions: the candidates to fuse, in execution order, and the
/// next larger ones that were declined.
pub(super) fn cheapest(
    graph: &Graph,
    flow: &Flow,
    mode: FuseMode,
) -> (Vec<Candidate>, Vec<Declined>) {
    let mut planner = Planner::new(graph, flow, mode);
    for (index, node) in graph.nodes.iter().enumerate() {
        if flow.roles[index].is_some() {
            planner.choose(node.output);
        }
    }
    planner.collect()
}

/// What it takes to have a value, from the boundary of its region on.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    cost: Cost,
    steps: u64,
}

impl Price {
    fn plus(self, other: Self) -> Self {
        Self { cost: self.cost.plus(other.cost), steps: self.steps + other.steps }
    }

    fn minus(self, other: Self) -> Self {
        let cost = Cost {
            macs: self.cost.macs.saturating_sub(other.cost.macs),
            weights: self.cost.weights.saturating_sub(other.cost.weights),
        };
        Self { cost, steps: self.steps.saturating_sub(other.steps) }
    }

    /// What is compared first, second and third.
    fn rank(self, mode: FuseMode) -> [u64; 3] {
        let Cost { macs, weights } = self.cost;
        match mode {
            FuseMode::All => [self.steps, macs, weights],
            FuseMode::Off | FuseMode::Free => [macs, weights, self.steps],
        }
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    flow: &'a Flow,
    mode: FuseMode,
    own: HashMap<usize, Form>,
    forms: HashMap<(ValueId, ValueId), Result<Mapped<Form>, Reason>>,
    price: Vec<Price>,
    chosen: HashMap<ValueId, Candidate>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, flow: &'a Flow, mode: FuseMode) -> Self {
        Self {
            graph,
            flow,
            mode,
            own: HashMap::new(),
            forms: HashMap::new(),
            price: vec![Price::default(); graph.values.len()],
            chosen: HashMap::new(),
        }
    }

    /// Decides how a value is computed, given the decisions for all earlier ones.
    fn choose(&mut self, value: ValueId) {
        let mut best = self.price_as_is(value);
        for source in self.sources(value) {
            let Ok(candidate) = self.candidate(source, value) else { continue };
            let price = Price { cost: candidate.after, steps: 1 }.plus(self.price_of(source));
            if price.rank(self.mode) < best.rank(self.mode) {
                best = price;
                self.chosen.insert(value, candidate);
            }
        }
        self.price[value.index()] = best;
    }

    /// The nearest dominators, and further ones that already are where a map begins.
    fn sources(&self, value: ValueId) -> Vec<ValueId> {
        let mut sources: Vec<_> = self.flow.dominators(value).take(CANDIDATES).collect();
        let begins = std::iter::successors(sources.first().copied(), |&s| self.source_of(s));
        let further: Vec<_> =
            begins.take(CANDIDATES).filter(|source| !sources.contains(source)).collect();
        sources.extend(further);
        sources
    }

    fn price_of(&self, value: ValueId) -> Price {
        if self.flow.is_boundary(value) { Price::default() } else { self.price[value.index()] }
    }

    /// The node itself and the cheapest way to have each of its operands. What all of them pass
    /// through is paid once.
    fn price_as_is(&self, value: ValueId) -> Price {
        let (index, role) = self.flow.role_of(value).expect("only affine values are priced");
        let node = &self.graph.nodes[index];
        let shared = self.flow.dominator(value).map_or(Price::default(), |d| self.price_of(d));
        let operands = role.operands(node);
        let above = operands.iter().map(|&operand| self.price_of(operand).minus(shared));
        let steps = match (&node.op, role) {
            (_, Role::View(_)) => 0,
            // A padding of its own is no step of a plan: as one tap it always is.
            (Op::Pad { .. }, _) => 2,
            _ => 1,
        };
        let own = Price { cost: node_cost(self.graph, index), steps };
        above.fold(own.plus(shared), Price::plus)
    }

    /// `value` as one map of `source`, or why not.
    fn candidate(&mut self, source: ValueId, value: ValueId) -> Result<Candidate, Reason> {
        let graph = self.graph;
        let Mapped { map, patch, .. } = self.form(source, value)?;
        let [from, to] = [source, value].map(|id| Extent::of(graph.shape(id)));
        let pixels = if patch { [[1, 1]; 2] } else { [from.pixels, to.pixels] };
        let form = map.fitted(pixels[0], pixels[1])?.grouped();
        let vectors = form.bias_vectors(pixels[0], pixels[1]);
        if vectors > BIAS_VECTORS && self.mode != FuseMode::All {
            return Err(Reason::BiasVectors { found: vectors, limit: BIAS_VECTORS });
        }
        let nodes = self.flow.between(graph, source, value).ok_or(Reason::SeveralReaders)?;
        let before = nodes.iter().map(|&k| node_cost(graph, k)).fold(Cost::default(), Cost::plus);
        let after = Cost::of_weights(form.weights(), to.rows * pixels[1][0] * pixels[1][1]);
        let grows = after.macs > before.macs || after.weights > before.weights;
        if grows && self.mode != FuseMode::All {
            return Err(Reason::CostsMore { before, after });
        }
        if self.mode == FuseMode::Off && !keeps_convolutions(graph, &nodes) {
            return Err(Reason::SwitchedOff);
        }
        Ok(Candidate { source, output: value, nodes, form, patch, before, after })
    }

    /// Form of `value` as a map of `source`, which dominates it.
    fn form(&mut self, source: ValueId, value: ValueId) -> Result<Mapped<Form>, Reason> {
        if value == source {
            return Ok(Mapped::identity(Extent::of(self.graph.shape(source))));
        }
        if let Some(form) = self.forms.get(&(source, value)) {
            return form.clone();
        }
        let (index, role) = self.flow.role_of(value).expect("between values of a region");
        let (graph, node) = (self.graph, &self.graph.nodes[index]);
        let own = match role {
            Role::Map(operand) => Some(self.own_form(index, operand)),
            _ => None,
        };
        let own = |_| own.expect("only maps ask for it");
        let form = interpret(graph, node, role, own, |id| self.form(source, id));
        self.forms.insert((source, value), form.clone());
        form
    }

    fn own_form(&mut self, index: usize, operand: ValueId) -> Form {
        let graph = self.graph;
        let make = || form_of(graph, &graph.nodes[index], operand).expect("the node has a role");
        *self.own.entry(index).or_insert_with(make)
    }

    /// Walks back from what is needed: candidates that are used, and what lies just beyond them.
    fn collect(mut self) -> (Vec<Candidate>, Vec<Declined>) {
        let (mut taken, mut declined) = (Vec::new(), Vec::new());
        let mut needed = vec![false; self.graph.values.len()];
        for index in (0..self.graph.nodes.len()).rev() {
            let node = &self.graph.nodes[index];
            let Some(role) = self.flow.roles[index] else { continue };
            if !needed[node.output.index()] && !self.flow.is_boundary(node.output) {
                continue;
            }
            let chosen = self.chosen.remove(&node.output);
            let reads = chosen.as_ref().map_or_else(|| role.operands(node), |c| vec![c.source]);
            reads.iter().for_each(|id| needed[id.index()] = true);
            declined.extend(self.beyond(node.output, chosen.as_ref()));
            taken.extend(chosen);
        }
        taken.reverse();
        declined.reverse();
        (taken, declined)
    }

    /// The smallest map that would take in one more step, if it was declined.
    fn beyond(&mut self, value: ValueId, chosen: Option<&Candidate>) -> Option<Declined> {
        let (_, role) = self.flow.role_of(value)?;
        let source = match (chosen, role) {
            (Some(candidate), _) => self.source_of(candidate.source)?,
            (None, Role::View(_)) => return None,
            (None, Role::Map(operand)) => self.source_of(operand)?,
            (None, Role::Sum { .. } | Role::Stack) => self.flow.dominator(value)?,
        };
        let reason = match self.candidate(source, value) {
            Err(reason) => reason,
            Ok(larger) => {
                let before = self.price[value.index()].minus(self.price_of(source)).cost;
                if before == larger.after {
                    return None;
                }
                Reason::CostsMore { before, after: larger.after }
            }
        };
        let nodes = self.flow.between(self.graph, source, value)?;
        (reason != Reason::SwitchedOff).then_some(Declined { nodes, reason })
    }

    /// What the step that computes a value reads, views taken for what they show; `None` at the
    /// boundary of the region.
    fn source_of(&self, value: ValueId) -> Option<ValueId> {
        if self.flow.is_boundary(value) {
            return None;
        }
        if let Some((_, Role::View(operand))) = self.flow.role_of(value) {
            return self.source_of(operand).or(Some(operand));
        }
        let chosen = self.chosen.get(&value).map(|candidate| candidate.source);
        chosen.or_else(|| self.flow.dominator(value))
    }
}

/// Multiplications and weights of a node. An addition of branches or of a constant has neither.
fn node_cost(graph: &Graph, index: usize) -> Cost {
    let node = &graph.nodes[index];
    let extent = Extent::of(graph.shape(node.output));
    let positions = extent.positions();
    let weight = |k: usize| graph.shape(node.inputs[k]).iter().product::<usize>();
    match &node.op {
        Op::Conv(_) | Op::Linear { .. } => Cost::of_weights(weight(1), positions),
        Op::AveragePool { window, .. } => {
            let taps = window.kernel.h as usize * window.kernel.w as usize;
            Cost { weights: 0, ..Cost::of_weights(extent.channels * taps, positions) }
        }
        Op::BatchNorm { .. } | Op::Mul | Op::Div | Op::Pad { .. } => {
            Cost::of_weights(extent.channels, positions)
        }
        Op::Add { .. } | Op::Sub
            if graph.get(node.inputs[0]).constant.is_some()
                || graph.get(node.inputs[1]).constant.is_some() =>
        {
            Cost::of_weights(extent.channels, positions)
        }
        _ => Cost::default(),
    }
}

/// Without fusion of branches: at most one convolution or pool, and constants around it.
fn keeps_convolutions(graph: &Graph, nodes: &[usize]) -> bool {
    let heavy = |&&index: &&usize| {
        let op = &graph.nodes[index].op;
        matches!(op, Op::Conv(_) | Op::Linear { .. } | Op::AveragePool { .. })
    };
    nodes.iter().filter(heavy).count() <= 1
}
