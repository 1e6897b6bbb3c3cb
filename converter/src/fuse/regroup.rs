//! Sums of several sources, in the order in which maps of one source meet.
//!
//! `(A(x) + y) + B(x)` is no map of `x`, but `(A(x) + B(x)) + y` contains one. In a chain of additions
//! that nobody reads between, terms that compute from one source are added first. As many additions
//! are left as before, and each keeps its name.

use super::flow::Flow;
use super::node_map::Role;
use crate::graph::{Graph, Op, ValueId};
use std::collections::HashSet;

/// Brings together the terms of each chain of additions that have one source.
pub(super) fn regroup_sums(graph: &mut Graph) {
    let mut done = HashSet::new();
    while let Some((chain, groups)) = next_chain(graph, &mut done) {
        rewrite(graph, &chain, groups);
    }
}

/// Additions that read each other, in execution order, and what they add up.
#[derive(Default)]
struct Chain {
    sums: Vec<usize>,
    terms: Vec<ValueId>,
}

/// The next chain with terms of one source and others, and its terms by source.
fn next_chain(graph: &Graph, done: &mut HashSet<ValueId>) -> Option<(Chain, Vec<Vec<ValueId>>)> {
    let flow = Flow::of(graph, true);
    for (last, node) in graph.nodes.iter().enumerate() {
        if !is_addition(graph, &flow, last) || inner(graph, &flow, node.output).is_some() {
            continue;
        }
        let mut chain = Chain::default();
        collect(graph, &flow, last, &mut chain);
        chain.sums.sort_unstable();
        let groups = by_source(&flow, &chain.terms);
        let mixed = groups.len() > 1 && groups.len() < chain.terms.len();
        if mixed && done.insert(node.output) {
            return Some((chain, groups));
        }
    }
    None
}

fn is_addition(graph: &Graph, flow: &Flow, index: usize) -> bool {
    let sum = matches!(flow.roles[index], Some(Role::Sum { .. }));
    sum && matches!(graph.nodes[index].op, Op::Add { .. })
}

/// The addition that gives a value, if only another addition reads it.
fn inner(graph: &Graph, flow: &Flow, value: ValueId) -> Option<usize> {
    let sum = flow.producers[value.index()].filter(|&k| is_addition(graph, flow, k))?;
    let [reader] = flow.consumers[value.index()][..] else { return None };
    (is_addition(graph, flow, reader) && !graph.outputs.contains(&value)).then_some(sum)
}

fn collect(graph: &Graph, flow: &Flow, sum: usize, chain: &mut Chain) {
    chain.sums.push(sum);
    for &operand in &graph.nodes[sum].inputs {
        match inner(graph, flow, operand) {
            Some(sum) => collect(graph, flow, sum, chain),
            None => chain.terms.push(operand),
        }
    }
}

/// Terms by the boundary that they compute from, in the order of the first of each.
fn by_source(flow: &Flow, terms: &[ValueId]) -> Vec<Vec<ValueId>> {
    let source = |&term: &ValueId| {
        let next = |&v: &ValueId| if flow.is_boundary(v) { None } else { flow.dominator(v) };
        std::iter::successors(Some(term), next).last()
    };
    let mut groups: Vec<(Option<ValueId>, Vec<ValueId>)> = Vec::new();
    for term in terms {
        let source = source(term);
        match groups.iter_mut().find(|(other, _)| *other == source) {
            Some((_, group)) => group.push(*term),
            None => groups.push((source, vec![*term])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Adds up each group, then the groups, all where the last addition stood.
fn rewrite(graph: &mut Graph, chain: &Chain, groups: Vec<Vec<ValueId>>) {
    let last = *chain.sums.last().expect("a chain has an addition");
    let mut sums = chain.sums.iter().map(|&k| graph.nodes[k].clone());
    let mut rewritten = Vec::new();
    let mut add_up = |terms: Vec<ValueId>| {
        terms.into_iter().reduce(|a, b| {
            let mut sum = sums.next().expect("one addition less than terms");
            sum.inputs = vec![a, b];
            let output = sum.output;
            rewritten.push(sum);
            output
        })
    };
    let groups: Vec<ValueId> = groups.into_iter().filter_map(&mut add_up).collect();
    add_up(groups);
    let nodes = std::mem::take(&mut graph.nodes);
    for (index, node) in nodes.into_iter().enumerate() {
        if index == last {
            graph.nodes.append(&mut rewritten);
        } else if !chain.sums.contains(&index) {
            graph.nodes.push(node);
        }
    }
}
