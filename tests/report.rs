//! Claims about the report as a page: well-formed, safe with any name, self-contained, drawn so that
//! nothing hides anything, and of the same facts as the JSON.

use serde_json::Value;
use std::path::Path;
use unbraid_converter::fuse::{FuseMode, fuse};
use unbraid_converter::graph::{Graph, Op};
use unbraid_converter::import::{self, load};
use unbraid_converter::plan::{self, Plan};
use unbraid_converter::report::{GraphFacts, Report};
use unbraid_tests::graphs::{Builder, Layer};

fn trained(file: &str) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file);
    load(&path, &import::Options::default()).expect("a good model")
}

fn reported(graph: Graph, mode: FuseMode) -> (Report, Plan) {
    let before = GraphFacts::new(&graph);
    let fused = fuse(graph, mode, &mut |_| {});
    let plan = plan::plan(&fused.graph, &plan::Options::default()).expect("steps for all nodes");
    (Report::new(before, &fused, &plan, 4096), plan)
}

/// 75 blocks of three branches and a ReLU: 600 nodes.
fn deep() -> Graph {
    let (mut net, mut x) = Builder::new(5, 2, [6, 6]);
    for _ in 0..75 {
        let sum = net.repvgg_sum(x, 2, 1, 1);
        x = net.relu(sum);
    }
    assert_eq!(net.graph.nodes.len(), 600);
    net.finish(&[x])
}

/// A chain in which one block is bypassed, and a concatenation.
fn bypassed() -> Graph {
    let (mut net, x) = Builder::new(6, 4, [8, 8]);
    let a = net.conv_relu(x, Layer::of(4, 3, 1, 1));
    let b = net.conv_relu(a, Layer::of(4, 3, 1, 1));
    let c = net.conv_relu(b, Layer::of(4, 3, 1, 1));
    let sum = net.add(a, c);
    let relu = net.relu(sum);
    let all = net.concat(&[relu, a]);
    let shape = [1, 8, 1, 1];
    let mean = net.node(Op::GlobalAveragePool, vec![all], &shape);
    net.finish(&[mean])
}

/// A bias that meets zero padding, and two padded windows that stay two.
fn refusing() -> Graph {
    let (mut net, x) = Builder::new(7, 4, [8, 8]);
    let point = net.conv(x, Layer::of(4, 1, 1, 1).biased());
    let one = net.conv(point, Layer::of(4, 3, 1, 1));
    let relu = net.relu(one);
    let two = net.conv(relu, Layer::of(4, 3, 1, 1).biased());
    let three = net.conv(two, Layer::of(4, 3, 1, 1));
    net.finish(&[three])
}

/// Ends with an error where a tag is not closed in the order of opening.
fn check_tags(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let mut open = vec![];
    for piece in body.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("every < opens a tag");
        let name = tag.split_whitespace().next().expect("a name");
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "<{tag}>");
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The two drawings of networks, without the rest of the page.
fn drawings(page: &str) -> [&str; 2] {
    let drawing = |part: &'static str| page.split("<svg class=\"network\"").nth(part.len());
    ["1", "22"].map(drawing).map(|svg| svg.expect("two").split("</svg>").next().expect("one"))
}

fn attribute(tag: &str, name: &str) -> f64 {
    let (_, rest) = tag.split_once(&format!(" {name}=\"")).expect("the attribute");
    rest.split('"').next().expect("a value").parse().expect("a number")
}

/// `[x, y, width, height]` of each box of a drawing.
fn boxes(drawing: &str) -> Vec<[f64; 4]> {
    let rects = drawing.split("<rect class=\"box\"").skip(1);
    rects.map(|tag| ["x", "y", "width", "height"].map(|name| attribute(tag, name))).collect()
}

fn check_boxes(drawing: &str) {
    let boxes = boxes(drawing);
    let [width, height] = ["width", "height"].map(|name| attribute(drawing, name));
    for (at, a) in boxes.iter().enumerate() {
        assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[0] + a[2] <= width && a[1] + a[3] <= height);
        for b in &boxes[at + 1..] {
            let apart = |k: usize| a[k] + a[k + 2] <= b[k] || b[k] + b[k + 2] <= a[k];
            assert!(apart(0) || apart(1), "{a:?} and {b:?}");
        }
    }
}

/// Each node once, in boxes that do not overlap, with all edges.
fn check_drawings(report: &Report, page: &str) {
    let networks = [&report.before.network, &report.after.network];
    for (drawing, network) in drawings(page).into_iter().zip(networks) {
        let ports = network.inputs.len() + network.outputs.len();
        assert_eq!(drawing.matches("<g class=\"node\"").count(), network.nodes.len());
        assert_eq!(boxes(drawing).len(), network.nodes.len() + ports);
        for node in &network.nodes {
            let title = format!("<g class=\"node\"><title>{}\n", node.name);
            assert_eq!(drawing.matches(&title).count(), 1, "{}", node.name);
        }
        let reads: usize = network.nodes.iter().map(|node| node.reads.len()).sum();
        let edges = drawing.matches("<path class=\"edge").count();
        assert_eq!(edges, reads + network.outputs.len());
        check_boxes(drawing);
    }
}

fn json(report: &Report) -> Value {
    serde_json::from_str(&report.to_json()).expect("JSON")
}

fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| str::from_utf8(g).expect("digits")).collect();
    format!("{}{}", if n < 0 { "-" } else { "" }, groups.join(","))
}

fn number(value: &Value) -> String {
    grouped(value.as_i64().expect("a whole number"))
}

#[test]
fn pages_are_well_formed_and_need_nothing_else() {
    for graph in [trained("repvgg_preserve.onnx"), trained("mobileone_preserve.onnx"), bypassed()] {
        let page = reported(graph, FuseMode::Free).0.to_html();
        check_tags(&page);
        for reference in ["http", "src=", "url(", "<script", "@import", "<link"] {
            assert!(!page.contains(reference), "{reference}");
        }
    }
}

#[test]
fn every_node_is_drawn_once_and_no_boxes_overlap() {
    for graph in [trained("repvgg_preserve.onnx"), trained("mobileone_eval.onnx"), bypassed()] {
        let (report, _) = reported(graph, FuseMode::Free);
        check_drawings(&report, &report.to_html());
    }
}

#[test]
fn a_model_of_600_nodes_is_drawn_too() {
    let (report, _) = reported(deep(), FuseMode::Free);
    assert_eq!(report.regions.len(), 75);
    let page = report.to_html();
    check_tags(&page);
    check_drawings(&report, &page);
}

#[test]
fn edges_that_skip_layers_stand_out() {
    let (report, _) = reported(bypassed(), FuseMode::Free);
    let page = report.to_html();
    let [before, _] = drawings(&page);
    assert_eq!(before.matches("class=\"edge skip\"").count(), 2);
}

#[test]
fn a_region_has_one_colour_in_both_drawings() {
    let (report, _) = reported(trained("repvgg_preserve.onnx"), FuseMode::Free);
    let page = report.to_html();
    let [before, after] = drawings(&page);
    for (at, region) in report.regions.iter().enumerate() {
        let number = format!("<a href=\"#region-{}\">", at + 1);
        assert_eq!(before.matches(&number).count(), region.nodes.len());
        assert_eq!(after.matches(&number).count(), 1);
        let boxes = [before, after].map(|drawing| drawing.split("</g>"));
        let of_region = boxes.into_iter().flatten().filter(|node| node.contains(&number));
        let fills: Vec<_> = of_region.map(|node| node.split(" fill=").nth(1)).collect();
        let colour =
            |fill: &Option<&'_ str>| fill.and_then(|f| Some(f.split_once('>')?.0.to_owned()));
        assert!(colour(&fills[0]).is_some());
        assert!(fills.iter().all(|fill| colour(fill) == colour(&fills[0])));
    }
}

#[test]
fn nodes_of_a_function_are_marked_in_both_drawings() {
    let (report, _) = reported(trained("../blocks/fastvit__ts_eval_opset17.onnx"), FuseMode::Free);
    let page = report.to_html();
    let [before, after] = drawings(&page);
    assert!(!report.functions.is_empty());
    for (at, function) in report.functions.iter().enumerate() {
        let link = format!("<a href=\"#function-{}\">", at + 1);
        assert_eq!(before.matches(&link).count(), function.nodes.len());
        assert_eq!(after.matches(&link).count(), 1);
        assert_eq!(page.matches(&format!("<li id=\"function-{}\">", at + 1)).count(), 1);
    }
}

#[test]
fn names_cannot_break_the_page() {
    let mut graph = bypassed();
    let evil = "</title><script>alert('&\"')</script>";
    graph.name = evil.to_owned();
    for value in &mut graph.values {
        value.name = format!("{evil}{}", value.name);
    }
    for node in &mut graph.nodes {
        node.name = format!("{evil}{}", node.name);
    }
    for mode in [FuseMode::Free, FuseMode::Off] {
        let page = reported(graph.clone(), mode).0.to_html();
        check_tags(&page);
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)"));
    }
}

#[test]
fn the_page_has_the_facts_of_the_json() {
    let graphs = [trained("repvgg_preserve.onnx"), trained("mobileone_preserve.onnx"), refusing()];
    let reports = graphs.map(|graph| reported(graph, FuseMode::Free).0);
    assert!(!reports[2].refused.is_empty() && reports[2].regions[0].bias_vectors == 9);
    for report in reports {
        let (page, json) = (report.to_html(), json(&report));
        for (name, key) in [
            ("parameters", "params"),
            ("multiply-accumulates", "macs"),
            ("bytes of feature maps, written", "activation_bytes"),
            ("bytes of feature maps, at once", "peak_activation_bytes"),
        ] {
            let [before, after] = ["before", "after"].map(|side| number(&json[side][key]));
            let row = format!("<td>{name}</td><td>{before}</td><td>{after}</td>");
            assert!(page.contains(&row), "{row}");
        }
        check_regions(&page, &json);
        check_refusals(&page, &json);
        let saved = ["macs", "params", "activation_bytes"].map(|key| number(&json["saved"][key]));
        assert!(page.contains(&saved.map(|n| format!("<td>{n}</td>")).concat()));
        for step in json["memory"].as_array().expect("steps") {
            let name = step["step"].as_str().expect("a name");
            let (op, bytes) = (step["op"].as_str().expect("a name"), number(&step["live_bytes"]));
            assert!(page.contains(&format!("{name}</td><td>{op}</td><td>{bytes}</td>")));
        }
    }
}

fn check_regions(page: &str, json: &Value) {
    let regions = json["regions"].as_array().expect("regions");
    assert!(!regions.is_empty());
    for region in regions {
        let cells = |value: &Value| format!("<td>{:.1e}</td>", value.as_f64().expect("an error"));
        let certificate = &region["certificate"];
        let errors: String = ["exact", "rounded"]
            .iter()
            .flat_map(|kind| ["interior", "border"].map(|part| cells(&certificate[kind][part])))
            .collect();
        let text = |key: &str| region[key].as_str().expect("text").to_owned();
        let start = format!("</span>{}</td>", text("name"));
        let (_, row) = page.split_once(&start).expect("a row of the region");
        let (row, _) = row.split_once("</td></tr>\n<tr id=").unwrap_or((row, ""));
        assert!(row.contains(&errors), "{errors} in {row}");
        let before = region["before"]["macs"].as_i64().expect("a count");
        let saved = grouped(before - region["after"]["macs"].as_i64().expect("a count"));
        assert!(row.contains(&format!("<td>{saved}</td>")));
        let names: Vec<&str> =
            region["nodes"].as_array().expect("nodes").iter().filter_map(Value::as_str).collect();
        let (source, output, names) = (text("source"), text("output"), names.join(", "));
        assert!(row.contains(&format!("from {source} to {output}: {names}.")), "{row}");
        let vectors = region["bias_vectors"].as_u64().expect("a count");
        assert_eq!(row.contains(&format!("{vectors} bias vectors:")), vectors > 1);
    }
}

fn check_refusals(page: &str, json: &Value) {
    for refusal in json["refused"].as_array().expect("refusals") {
        let reason = refusal["reason"].as_str().expect("text");
        assert!(page.contains(&format!("<span class=\"reason\">{reason}</span>")), "{reason}");
    }
}

#[test]
fn the_json_lists_every_node_with_what_it_reads() {
    let graph = trained("repvgg_preserve.onnx");
    let (report, _) = reported(graph.clone(), FuseMode::Free);
    let json = json(&report);
    let nodes = json["before"]["network"]["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), graph.nodes.len());
    for (listed, node) in nodes.iter().zip(&graph.nodes) {
        let computed = node.inputs.iter().filter(|&&id| graph.get(id).constant.is_none());
        let reads: Vec<&str> = computed.map(|&id| graph.get(id).name.as_str()).collect();
        assert_eq!(listed["name"], node.name);
        assert_eq!(listed["reads"], Value::from(reads));
        assert_eq!(listed["output"], graph.get(node.output).name);
        assert_eq!(listed["shape"], Value::from(graph.shape(node.output).to_vec()));
    }
    let sum = |key: &str| nodes.iter().filter_map(|node| node[key].as_u64()).sum::<u64>();
    assert_eq!((sum("params"), sum("macs")), (report.before.params, report.before.macs));
}

#[test]
fn memory_in_use_peaks_at_the_size_of_the_arena() {
    let graphs =
        ["repvgg_preserve.onnx", "mobileone_preserve.onnx", "plain_eval.onnx"].map(trained);
    for graph in graphs.into_iter().chain([bypassed(), deep()]) {
        let (report, plan) = reported(graph, FuseMode::Free);
        assert_eq!(report.memory.len(), plan.steps.len());
        let peak = report.memory.iter().map(|step| step.live_bytes).max();
        assert_eq!(peak, Some(plan.arena_base.into()));
        let text = format!("peak: {} bytes at step", grouped(plan.arena_base.into()));
        assert!(report.to_html().contains(&text));
    }
}

#[test]
fn memory_in_use_is_what_later_steps_still_read() {
    let (report, _) = reported(bypassed(), FuseMode::Off);
    let map = 4 * 4 * 8 * 8;
    // x a; a b; a b c; a and the sum, written over c; the same with two maps for the
    // concatenation, twice; both maps of it, and the mean's cache line.
    let ops: Vec<(&str, u64)> = report.memory.iter().map(|s| (s.op, s.live_bytes)).collect();
    let expected = [
        ("conv", 2 * map),
        ("conv", 2 * map),
        ("conv", 3 * map),
        ("add", 2 * map),
        ("copy_into", 4 * map),
        ("copy_into", 3 * map),
        ("global_average_pool", 2 * map + 64),
    ];
    assert_eq!(ops, expected);
}

#[test]
fn the_same_model_gives_the_same_page() {
    let page = || reported(trained("repvgg_preserve.onnx"), FuseMode::Free).0.to_html();
    assert_eq!(page(), page());
}
