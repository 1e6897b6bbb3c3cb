//! [`Report`] as one page that needs nothing else: no network, no script, all drawings in it.

use super::svg::Tag;
use super::text::{grouped, signed};
use super::{Report, Saved, StepMemory, Total, border_note, pruning, quantization, svg};
use crate::fuse::{Recognised, Refusal, Region};
use std::collections::HashMap;

const STYLE: &str = include_str!("page.css");

impl Report {
    /// The report as an HTML page. It has all facts of the JSON; where the page rounds (errors, to
    /// two digits), the JSON does not. Same report, same bytes.
    pub fn to_html(&self) -> String {
        let name = escaped(if self.model.is_empty() { "a model" } else { &self.model });
        let parts = [
            format!("<h1>{name}: from branches to a strand</h1>\n"),
            self.summary(),
            self.graphs(),
            regions(&self.regions, self.saved),
            functions(&self.functions),
            refusals(&self.refused),
            pruning::html(&self.pruned),
            quantization::html(self.quantized.as_ref()),
            self.timeline(),
        ];
        page(&format!("{name}: conversion report"), &parts.concat())
    }

    fn summary(&self) -> String {
        let (file, arena) = (&self.file, &self.file.arena_bytes);
        let written = format!(
            "<p>Fused regions: {}. Refused: {}. The file has {} steps and {} bytes. An inference \
             needs {} bytes for feature maps and {} bytes a worker for staged rows.</p>\n",
            self.regions.len(),
            self.refused.len(),
            file.steps,
            grouped(file.file_bytes as u64),
            grouped(arena.activations.into()),
            grouped(arena.scratch_per_worker.into()),
        );
        let head = "<tr><th>totals</th><th>before</th><th>after</th></tr>";
        let rows: String = self.totals().iter().map(total_row).collect();
        format!("{written}<table>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
    }

    /// Tags by the names of nodes: of those that were replaced, and of those that replaced them.
    fn tags(&self) -> [HashMap<&str, Tag>; 2] {
        let functions = self.functions.iter().enumerate();
        let functions = functions.map(|(at, f)| (Tag::function(at), &f.nodes, &f.name));
        let regions = self.regions.iter().enumerate();
        let regions = regions.map(|(at, region)| (Tag::region(at), &region.nodes, &region.name));
        let [mut replaced, mut made] = [HashMap::new(), HashMap::new()];
        for (tag, nodes, name) in functions.chain(regions) {
            replaced.extend(nodes.iter().map(|node| (node.as_str(), tag.clone())));
            made.insert(name.as_str(), tag);
        }
        [replaced, made]
    }

    fn graphs(&self) -> String {
        let [replaced, made] = self.tags();
        let panel = |title: &str, drawing: String| {
            format!("<div><h3>{title}</h3>\n<div class=\"panel\">\n{drawing}</div>\n</div>\n")
        };
        format!(
            "<h2>The graph</h2>\n<p>A region has the same colour and number on both sides. \
             Grey nodes are together one function. White nodes stay, or move as an activation into \
             the node before them. Red edges skip layers. /: stride, d: dilation, p: padding, g: groups, border: bias by distance to \
             the border. A pointer on a node shows its name.</p>\n<div class=\"graphs\">\n{}{}\
             </div>\n",
            panel("before", svg::network(&self.before.network, &replaced)),
            panel("after", svg::network(&self.after.network, &made)),
        )
    }

    fn timeline(&self) -> String {
        let row = |(at, step): (usize, &StepMemory)| {
            let (name, bytes) = (escaped(&step.step), grouped(step.live_bytes));
            format!("<tr><td>{at} {name}</td><td>{}</td><td>{bytes}</td></tr>\n", step.op)
        };
        let rows: String = self.memory.iter().enumerate().map(row).collect();
        format!(
            "<h2>Memory, step by step</h2>\n<p>Bytes of the arena that hold what a step or a later \
             one needs; the arena has {}.</p>\n<div class=\"wide\">\n{}</div>\n\
             <details><summary>{} steps</summary>\n<table>\n<thead><tr><th>step</th><th>operation\
             </th><th>bytes in use</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n\
             </details>\n",
            grouped(self.file.arena_bytes.activations.into()),
            svg::memory(&self.memory),
            self.memory.len(),
        )
    }
}

/// A whole page; both texts are HTML.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n"
    )
}

fn total_row(total: &Total) -> String {
    let Total { name, part, before, after } = total;
    let class = if *part { " class=\"part\"" } else { "" };
    let (before, after) = (grouped(*before), grouped(*after));
    format!("<tr{class}><td>{name}</td><td>{before}</td><td>{after}</td></tr>\n")
}

fn regions(regions: &[Region], saved: Saved) -> String {
    let rows: String = regions.iter().enumerate().map(|(at, region)| row(at, region)).collect();
    let Saved { macs, params, activation_bytes } = saved;
    let [macs, params, bytes] = [macs, params, activation_bytes].map(signed);
    format!(
        "<h2>Regions</h2>\n<p>Each was executed before and after fusion on random pictures. Errors \
         are the largest differences relative to the largest output: of the exact kernel in f64 \
         and of the f32 kernel that is written, over pixels inside and at the border. MACs here \
         count BatchNorms, constants, pads and pools too; the totals above count those \
         of convolutions and dense layers only. Bytes are those of feature maps that are no longer \
         written.</p>\n<div class=\"wide\">\n<table>\n\
         <thead><tr><th>region</th><th>nodes</th><th>f64<br/>interior</th><th>f64<br/>border</th>\
         <th>f32<br/>interior</th><th>f32<br/>border</th><th>MACs<br/>saved</th>\
         <th>parameters<br/>saved</th><th>bytes<br/>saved</th><th>bias<br/>vectors</th></tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n<tfoot><tr><td>all</td><td></td><td></td><td></td>\
         <td></td><td></td><td>{macs}</td><td>{params}</td><td>{bytes}</td><td></td></tr></tfoot>\n\
         </table>\n</div>\n"
    )
}

/// Figures in one row, names in a second one.
fn row(at: usize, region: &Region) -> String {
    let (exact, rounded) = (region.certificate.exact, region.certificate.rounded);
    let saved = Saved::by(region);
    let errors = [exact.interior, exact.border, rounded.interior, rounded.border];
    let cells = [grouped(region.nodes.len() as u64)]
        .into_iter()
        .chain(errors.map(|error| format!("{error:.1e}")))
        .chain([saved.macs, saved.params, saved.activation_bytes].map(signed))
        .chain([grouped(region.bias_vectors as u64)]);
    let cells: String = cells.map(|cell| format!("<td>{cell}</td>")).collect();
    let (name, number, tag) = (escaped(&region.name), at + 1, Tag::region(at).html());
    let note = border_note(region).map(|note| format!(" {note}.")).unwrap_or_default();
    let (source, output) = (escaped(&region.source), escaped(&region.output));
    format!(
        "<tr id=\"region-{number}\"><td>{tag}{name}</td>{cells}</tr>\n<tr class=\"more\"><td colspan=\"10\">from \
         {source} to {output}: {}.{note}</td></tr>\n",
        names(&region.nodes)
    )
}

fn functions(functions: &[Recognised]) -> String {
    if functions.is_empty() {
        return String::new();
    }
    let item = |(at, recognised): (usize, &Recognised)| {
        let Recognised { function, nodes, error, .. } = recognised;
        let (number, tag) = (at + 1, Tag::function(at).html());
        let nodes = names(nodes);
        format!("<li id=\"function-{number}\">{tag}{function}: {nodes} ({error:.1e})</li>\n")
    };
    let items: String = functions.iter().enumerate().map(item).collect();
    format!(
        "<h2>Element-wise nodes that are one function</h2>\n<p>In brackets the largest difference \
         at sample points, relative to the larger of |x| and 1.</p>\n<ul class=\"functions\">\n{items}</ul>\n"
    )
}

fn refusals(refused: &[Refusal]) -> String {
    if refused.is_empty() {
        return "<h2>Not fused</h2>\n<p>Nothing was refused.</p>\n".to_owned();
    }
    let item = |refusal: &Refusal| {
        let reason = escaped(&refusal.reason.to_string());
        format!("<li>{}: <span class=\"reason\">{reason}</span></li>\n", names(&refusal.nodes))
    };
    let items: String = refused.iter().map(item).collect();
    format!("<h2>Not fused</h2>\n<ol class=\"refused\">\n{items}</ol>\n")
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ")
}

/// Text as HTML shows it, also between quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(character),
        }
    }
    html
}
