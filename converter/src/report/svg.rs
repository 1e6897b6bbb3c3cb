//! Drawings for the page: a [`network`] and the use of [`memory`] over the steps.

use super::drawing::{BOX, Layout, Point, lay_out};
use super::html::escaped;
use super::memory::StepMemory;
use super::network::{Network, NodeFacts, PortFacts};
use super::text::grouped;
use std::collections::HashMap;

/// Characters of the first line of a box.
const TITLE: usize = 28;

/// What a node is a part of, as its box shows it.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    /// In the corner: `#3` or `f2`.
    pub(super) label: String,
    /// Where on the page it is told.
    pub(super) anchor: String,
    /// Colour of the box.
    pub(super) fill: String,
}

impl Tag {
    /// Of a region, counted from 0.
    pub(super) fn region(at: usize) -> Self {
        let number = at + 1;
        Self { label: format!("#{number}"), anchor: format!("region-{number}"), fill: tint(at) }
    }

    /// Of nodes that are one function, counted from 0.
    pub(super) fn function(at: usize) -> Self {
        let number = at + 1;
        let (label, anchor) = (format!("f{number}"), format!("function-{number}"));
        Self { label, anchor, fill: "hsl(215,20%,86%)".to_owned() }
    }

    /// As text outside a drawing.
    pub(super) fn html(&self) -> String {
        let Self { label, fill, .. } = self;
        format!("<span class=\"number-tag\" style=\"background:{fill}\">{label}</span>")
    }
}

/// A graph in layers. Nodes get the tags under their names.
pub(super) fn network(network: &Network, tags: &HashMap<&str, Tag>) -> String {
    let (inputs, nodes) = (&network.inputs, &network.nodes);
    let boxes = inputs.len() + nodes.len() + network.outputs.len();
    let layout = lay_out(boxes, &edges(network));
    let mut corners = layout.corners.iter();
    let mut content: String = layout.routes.iter().map(|route| edge(route)).collect();
    let port = |(kind, facts), &corner| port_box(kind, facts, corner);
    let ins = inputs.iter().map(|facts| ("input", facts));
    content.extend(ins.zip(corners.by_ref()).map(|(facts, corner)| port(facts, corner)));
    let node = |(node, &corner): (&NodeFacts, _)| node_box(node, tags.get(&*node.name), corner);
    content.extend(nodes.iter().zip(corners.by_ref()).map(node));
    let outs = network.outputs.iter().map(|facts| ("output", facts));
    content.extend(outs.zip(corners).map(|(facts, corner)| port(facts, corner)));
    sized(&layout, &content)
}

fn sized(layout: &Layout, content: &str) -> String {
    let [width, height] = layout.size;
    format!("<svg class=\"network\" width=\"{width}\" height=\"{height}\">\n{content}</svg>\n")
}

/// Edges between boxes: inputs first, then nodes, then outputs.
fn edges(network: &Network) -> Vec<(usize, usize)> {
    let first = network.inputs.len();
    let given = network.inputs.iter().map(|port| port.name.as_str());
    let computed = network.nodes.iter().map(|node| node.output.as_str());
    let producers: HashMap<&str, usize> = given.chain(computed).zip(0..).collect();
    let nodes = network.nodes.iter().zip(first..);
    let of_nodes = nodes.flat_map(|(node, to)| node.reads.iter().map(move |name| (name, to)));
    let outputs = network.outputs.iter().zip(first + network.nodes.len()..);
    let all = of_nodes.chain(outputs.map(|(port, to)| (&port.name, to)));
    all.filter_map(|(name, to)| Some((*producers.get(name.as_str())?, to))).collect()
}

/// A curve between layers, a straight line within one.
fn edge(route: &[Point]) -> String {
    let mut path = format!("M{} {}", route[0].x, route[0].y);
    for (at, pair) in route.windows(2).enumerate() {
        let [from, to] = [pair[0], pair[1]];
        let middle = f64::midpoint(from.y, to.y);
        path += &if at.is_multiple_of(2) && from.x != to.x {
            format!("C{} {middle} {} {middle} {} {}", from.x, to.x, to.x, to.y)
        } else {
            format!("V{}", to.y)
        };
    }
    let class = if route.len() > 2 { "edge skip" } else { "edge" };
    format!("<path class=\"{class}\" d=\"{path}\"/>\n")
}

/// `64×14×14`: without the batch of 1.
fn shape(axes: &[usize]) -> String {
    let axes = if let [1, rest @ ..] = axes { rest } else { axes };
    axes.iter().map(usize::to_string).collect::<Vec<_>>().join("\u{d7}")
}

fn port_box(kind: &str, port: &PortFacts, corner: Point) -> String {
    let lines = [cut(&port.name), format!("{kind} {}", shape(&port.shape))];
    group("port", "", &[&port.name], corner, lines, None)
}

fn node_box(node: &NodeFacts, tag: Option<&Tag>, corner: Point) -> String {
    let title = cut(format!("{} {}", node.op, node.detail).trim_end());
    let count = |n: u64, unit: &str| format!("{} {unit}", grouped(n));
    let hints = [node.name.clone(), count(node.params, "parameters"), count(node.macs, "MACs")];
    let fill = tag.map(|tag| format!(" fill=\"{}\"", tag.fill)).unwrap_or_default();
    group("node", &fill, &hints, corner, [title, shape(&node.shape)], tag)
}

/// A box with two lines of text; `hints` show when a pointer rests on it.
fn group(
    class: &str,
    fill: &str,
    hints: &[impl AsRef<str>],
    corner: Point,
    lines: [String; 2],
    tag: Option<&Tag>,
) -> String {
    let (Point { x, y }, [width, height]) = (corner, BOX);
    let hints: Vec<String> = hints.iter().map(|hint| escaped(hint.as_ref())).collect();
    let text = |dy: f64, line: &str| {
        format!("<text x=\"{}\" y=\"{}\">{}</text>", x + 7.0, y + dy, escaped(line))
    };
    let number = |Tag { label, anchor, .. }: &Tag| {
        let (x, y) = (x + width - 6.0, y + 27.0);
        format!(
            "<a href=\"#{anchor}\"><text class=\"number\" x=\"{x}\" y=\"{y}\">{label}</text></a>"
        )
    };
    format!(
        "<g class=\"{class}\"><title>{}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" \
         width=\"{width}\" height=\"{height}\" rx=\"4\"{fill}/>{}{}{}</g>\n",
        hints.join("\n"),
        text(14.0, &lines[0]),
        text(27.0, &lines[1]),
        tag.map(number).unwrap_or_default(),
    )
}

/// The beginning of a long title; the hint has it all.
fn cut(title: &str) -> String {
    if title.chars().count() <= TITLE {
        return title.to_owned();
    }
    let start: String = title.chars().take(TITLE - 1).collect();
    start + "\u{2026}"
}

/// A light colour for a region: hues a golden angle apart, so that neighbours differ.
fn tint(region: usize) -> String {
    // 137 and 360 have no common divisor: 360 hues before one comes again.
    format!("hsl({},75%,84%)", (region % 360) * 137 % 360)
}

/// Rows of pixels for the largest bar.
const CHART: f64 = 150.0;
/// Pixels left of the first bar, for the text of the axis.
const AXIS: f64 = 84.0;
/// Pixels above the largest bar, for its text.
const HEAD: f64 = 22.0;

/// One bar a step: bytes in use. The largest is marked with its bytes.
pub(super) fn memory(steps: &[StepMemory]) -> String {
    let bar = (1000.0 / steps.len().max(1) as f64).floor().clamp(8.0, 40.0);
    let Some((peak, largest)) = peak(steps) else { return String::new() };
    let (left, base) = (|at: usize| AXIS + at as f64 * bar, HEAD + CHART);
    let bars = steps.iter().enumerate().map(|(at, step)| {
        let height = (CHART * step.live_bytes as f64 / largest.max(1) as f64).round();
        let class = if step.live_bytes == largest { "bar peak" } else { "bar" };
        let hint = format!("{}: {} bytes", step.step, grouped(step.live_bytes));
        format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\">\
             <title>{at} {} {}</title></rect>\n",
            left(at),
            base - height,
            bar - 2.0,
            step.op,
            escaped(&hint)
        )
    });
    let every = if bar < 16.0 { 10 } else { 1 };
    let numbers = (0..steps.len()).step_by(every).map(|at| {
        let (x, y) = (left(at) + bar / 2.0 - 1.0, base + 14.0);
        format!("<text class=\"tick\" x=\"{x}\" y=\"{y}\">{at}</text>\n")
    });
    let content: String = bars.chain(numbers).collect();
    let width = (left(steps.len()) + 8.0).max(AXIS + 420.0);
    let (height, text) = (base + 22.0, grouped(largest));
    format!(
        "<svg class=\"memory\" width=\"{width}\" height=\"{height}\">\n\
         <path class=\"axis\" d=\"M{AXIS} {HEAD}H{width}M{AXIS} {base}H{width}\"/>\n\
         <text class=\"mark\" x=\"{}\" y=\"{}\">{text}</text>\n\
         <text class=\"mark\" x=\"{}\" y=\"{base}\">0</text>\n\
         <text class=\"peak\" x=\"{AXIS}\" y=\"{}\">peak: {text} bytes at step {peak}</text>\n\
         {content}</svg>\n",
        AXIS - 6.0,
        HEAD + 4.0,
        AXIS - 6.0,
        HEAD - 8.0,
    )
}

/// The first step that needs the most bytes, and how many.
fn peak(steps: &[StepMemory]) -> Option<(usize, u64)> {
    let largest = steps.iter().map(|step| step.live_bytes).max()?;
    Some((steps.iter().position(|step| step.live_bytes == largest)?, largest))
}
