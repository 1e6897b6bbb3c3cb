//! Detection: heads, suppression and letterboxes against formulas in f64, for every arrangement
//! of the values, ties, NaN, and memory that is too small.
#![forbid(unsafe_code)]

use unbraid_runtime::detect::{
    Anchor, Arrangement, Boxes, Candidate, ChannelOrder, DecodeError, Fit, Head, HeadFault,
    Letterbox, Level, MAX_ANCHORS, MAX_LEVELS, Picture, Rect, suppress,
};
use unbraid_runtime::dims::{Dims, Hw};
use unbraid_runtime::model::section::SectionKind;
use unbraid_runtime::step::{Activation, Op};
use unbraid_runtime::{FormatError, Model};
use unbraid_tests::rng::Random;
use unbraid_tests::strand_builder::{StrandBuilder, assemble, open, postcard_bytes, sections_of};

const INPUT: Hw = Hw { h: 64, w: 96 };
const STRIDES: [u32; 3] = [8, 16, 32];
const ARRANGEMENTS: [Arrangement; 4] =
    [Arrangement::Rows, Arrangement::Columns, Arrangement::Maps, Arrangement::Planes];
const BOXES: [Boxes; 6] = [
    Boxes::Centre,
    Boxes::Corners,
    Boxes::Grid,
    Boxes::Distances { bins: 1 },
    Boxes::Distances { bins: 16 },
    Boxes::Anchors,
];

/// Three levels, two anchors a cell where boxes have anchors and one elsewhere.
fn head(arrangement: Arrangement, boxes: Boxes, objectness: bool, logits: bool) -> Head {
    let anchor_count = if boxes == Boxes::Anchors { 2 } else { 1 };
    let mut levels = [Level::default(); MAX_LEVELS];
    for (level, stride) in levels.iter_mut().zip(STRIDES) {
        level.stride = stride;
        if boxes == Boxes::Anchors {
            let s = stride as f32;
            level.anchors[..2].copy_from_slice(
                &[(1.5, 2.0), (4.0, 3.25)].map(|(w, h)| Anchor { w: w * s, h: h * s }),
            );
        }
    }
    Head {
        input: INPUT,
        classes: 5,
        extra: 0,
        arrangement,
        boxes,
        objectness,
        logits,
        level_count: 3,
        anchor_count,
        levels,
        picture: Picture { fit: Fit::Centre, fill: 114, order: ChannelOrder::Rgb },
        score_threshold: 0.3,
        iou_threshold: 0.5,
    }
}

/// Every combination of what a head can say.
fn heads() -> Vec<Head> {
    let mut heads = Vec::new();
    for arrangement in ARRANGEMENTS {
        for boxes in BOXES {
            for (objectness, logits) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let head = head(arrangement, boxes, objectness, logits);
                // With and without values that mean no box.
                heads.push(Head { extra: heads.len() as u32 % 3, ..head });
            }
        }
    }
    heads
}

/// A prediction and the cell that it belongs to.
#[derive(Clone)]
struct Prediction {
    level: usize,
    anchor: usize,
    y: usize,
    x: usize,
    values: Vec<f32>,
}

/// Predictions of all cells with random values: level by level, anchor by anchor, row by row.
fn predictions(head: &Head, random: &mut Random) -> Vec<Prediction> {
    let box_values = head.boxes.values() as usize;
    let score_values = head.fields().unwrap() - box_values;
    let box_range = match head.boxes {
        Boxes::Centre | Boxes::Corners => (0.0, 96.0),
        Boxes::Anchors if !head.logits => (0.0, 1.0),
        _ => (-2.0, 2.0),
    };
    let score_range = if head.logits { (-4.0, 4.0) } else { (0.0, 1.0) };
    let mut all = Vec::new();
    for (level, stride) in STRIDES.iter().enumerate() {
        let (rows, columns) = ((INPUT.h / stride) as usize, (INPUT.w / stride) as usize);
        for anchor in 0..usize::from(head.anchor_count) {
            for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
                let mut values = random.within(box_range.0, box_range.1, box_values);
                values.extend(random.within(score_range.0, score_range.1, score_values));
                all.push(Prediction { level, anchor, y, x, values });
            }
        }
    }
    all
}

/// The outputs that hold these predictions, and the order in which the head counts them.
fn outputs(head: &Head, all: &[Prediction]) -> (Vec<Vec<f32>>, Vec<Prediction>) {
    let fields = head.fields().unwrap();
    let rows = |all: &[Prediction]| all.iter().flat_map(|p| p.values.clone()).collect::<Vec<_>>();
    let level = |l: usize| all.iter().filter(move |p| p.level == l).cloned().collect::<Vec<_>>();
    match head.arrangement {
        Arrangement::Rows => (vec![rows(all)], all.to_vec()),
        Arrangement::Columns => {
            let column = |f: usize| all.iter().map(move |p| p.values[f]);
            (vec![(0..fields).flat_map(column).collect()], all.to_vec())
        }
        Arrangement::Planes => ((0..3).map(|l| rows(&level(l))).collect(), all.to_vec()),
        Arrangement::Maps => {
            let mut counted = Vec::new();
            for l in 0..3 {
                let mut of_level = level(l);
                of_level.sort_by_key(|p| (p.y, p.x, p.anchor));
                counted.push(of_level);
            }
            (counted.iter().map(|level| rows(level)).collect(), counted.concat())
        }
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Left, top, right, bottom of a prediction, by the formula of its paper, in f64.
fn rectangle(head: &Head, p: &Prediction) -> [f64; 4] {
    let v: Vec<f64> = p.values.iter().map(|&v| f64::from(v)).collect();
    let (x, y, stride) = (p.x as f64, p.y as f64, f64::from(STRIDES[p.level]));
    let around =
        |x: f64, y: f64, w: f64, h: f64| [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
    match head.boxes {
        Boxes::Centre => around(v[0], v[1], v[2], v[3]),
        Boxes::Corners => [v[0], v[1], v[2], v[3]],
        Boxes::Grid => around(
            (x + v[0]) * stride,
            (y + v[1]) * stride,
            v[2].exp() * stride,
            v[3].exp() * stride,
        ),
        Boxes::Distances { bins } => {
            let bins = bins as usize;
            let mean = |side: usize| {
                let of_side = &v[side * bins..][..bins];
                let total: f64 = of_side.iter().map(|v| v.exp()).sum();
                let moment = of_side.iter().enumerate().map(|(k, v)| k as f64 * v.exp());
                if bins == 1 { of_side[0] } else { moment.sum::<f64>() / total }
            };
            let (x, y) = (x + 0.5, y + 0.5);
            [x - mean(0), y - mean(1), x + mean(2), y + mean(3)].map(|edge| edge * stride)
        }
        Boxes::Anchors => {
            let s = |k: usize| if head.logits { logistic(v[k]) } else { v[k] };
            let anchor = head.levels[p.level].anchors[p.anchor];
            around(
                (2.0 * s(0) - 0.5 + x) * stride,
                (2.0 * s(1) - 0.5 + y) * stride,
                (2.0 * s(2)).powi(2) * f64::from(anchor.w),
                (2.0 * s(3)).powi(2) * f64::from(anchor.h),
            )
        }
    }
}

/// Score and class of a prediction.
fn score(head: &Head, p: &Prediction) -> (f64, usize) {
    let probability = |v: f32| if head.logits { logistic(f64::from(v)) } else { f64::from(v) };
    let scores = &p.values[head.boxes.values() as usize..];
    let (thing, classes) = match head.objectness {
        true => (probability(scores[0]), &scores[1..]),
        false => (1.0, scores),
    };
    let classes = &classes[..head.classes as usize];
    let best = (0..classes.len()).rev().max_by(|&a, &b| classes[a].total_cmp(&classes[b]));
    (thing * probability(classes[best.unwrap()]), best.unwrap())
}

fn decode(head: &Head, outputs: &[Vec<f32>], threshold: f32, room: usize) -> Vec<Candidate> {
    let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
    let mut memory = vec![Candidate::default(); room];
    let count = head.decode(&outputs, threshold, &mut memory).unwrap();
    memory.truncate(count);
    memory
}

fn edges(rect: Rect) -> [f32; 4] {
    [rect.left, rect.top, rect.right, rect.bottom]
}

#[test]
fn every_head_decodes_to_the_rectangles_of_its_formula() {
    let mut random = Random(1);
    for head in heads() {
        let all = predictions(&head, &mut random);
        let (outputs, counted) = outputs(&head, &all);
        let mut found = decode(&head, &outputs, 0.3, 4096);
        let above = counted.iter().enumerate().filter(|(_, p)| score(&head, p).0 >= 0.3);
        found.sort_by_key(|candidate| candidate.index);
        assert!(found.len() > 50, "{head:?}: too few to show anything");
        assert_eq!(found.len(), above.clone().count(), "{head:?}");
        for (candidate, (index, p)) in found.iter().zip(above) {
            let ((score, class), rect) = (score(&head, p), rectangle(&head, p));
            assert_eq!((candidate.index, candidate.class), (index as u32, class as u32));
            assert!((f64::from(candidate.score) - score).abs() < 1e-6, "{head:?} {index}");
            for (edge, expected) in edges(candidate.rect).into_iter().zip(rect) {
                let error = (f64::from(edge) - expected).abs();
                assert!(error < 1e-4, "{head:?} {index}: {edge} is not {expected}");
            }
        }
    }
}

#[test]
fn memory_for_a_few_keeps_the_best() {
    let mut random = Random(2);
    let head = head(Arrangement::Rows, Boxes::Centre, false, false);
    let mut all = predictions(&head, &mut random);
    // Few different scores: most have equals.
    all.iter_mut().flat_map(|p| &mut p.values[4..]).for_each(|v| *v = (*v * 8.0).floor() / 8.0);
    let (outputs, _) = outputs(&head, &all);
    let whole = decode(&head, &outputs, 0.2, 4096);
    let order = |pair: &[Candidate]| {
        let key = |c: &Candidate| (-c.score, c.index);
        key(&pair[0]) < key(&pair[1])
    };
    assert!(whole.windows(2).all(order), "best first, and of equals the lower index");
    for room in [0, 1, 2, 3, 7, 64, whole.len() - 1, whole.len(), whole.len() + 1] {
        let kept = decode(&head, &outputs, 0.2, room);
        assert_eq!(kept, whole[..room.min(whole.len())], "room for {room}");
    }
}

#[test]
fn values_that_are_no_numbers_leave_their_prediction_out() {
    let mut random = Random(3);
    for head in heads() {
        let all = predictions(&head, &mut random);
        let (_, counted) = outputs(&head, &all);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut bent = all.clone();
            let field = random.bits() as usize % head.fields().unwrap();
            bent.iter_mut().for_each(|p| p.values[field] = bad);
            let (outputs, _) = outputs(&head, &bent);
            for candidate in decode(&head, &outputs, 0.0, 4096) {
                assert!(edges(candidate.rect).iter().all(|edge| edge.is_finite()), "{head:?}");
                assert!(!candidate.score.is_nan() && candidate.index < counted.len() as u32);
                let is_box = field < head.boxes.values() as usize;
                assert!(!is_box || saturates(&head, bad), "{head:?}: {bad} made a rectangle");
            }
        }
    }
}

/// Whether a box value of this kind still makes a finite rectangle: `exp` and the logistic
/// function have limits.
fn saturates(head: &Head, bad: f32) -> bool {
    match head.boxes {
        Boxes::Anchors => head.logits && !bad.is_nan(),
        Boxes::Grid | Boxes::Distances { bins: 16 } => bad == f32::NEG_INFINITY,
        _ => false,
    }
}

#[test]
fn scores_below_the_threshold_and_thresholds_that_are_no_numbers_give_nothing() {
    let head = Head { classes: 1, ..head(Arrangement::Rows, Boxes::Corners, false, false) };
    let outputs = [vec![0.0, 0.0, 9.0, 9.0, 0.5, 0.0, 0.0, 9.0, 9.0, 0.25]];
    let count = |threshold| decode(&head, &outputs, threshold, 9).len();
    assert_eq!([0.0, 0.25, 0.26, 0.5, 0.51].map(count), [2, 2, 1, 1, 0]);
    assert_eq!(count(f32::NAN), 0);
}

#[test]
fn of_classes_with_equal_scores_the_first_counts() {
    let head = Head { classes: 4, ..head(Arrangement::Rows, Boxes::Corners, false, false) };
    let class = |scores: [f32; 4]| {
        let outputs = [[&[0.0, 0.0, 9.0, 9.0], &scores[..]].concat()];
        decode(&head, &outputs, 0.1, 9).first().map(|candidate| candidate.class)
    };
    assert_eq!(class([0.5, 0.75, 0.75, 0.25]), Some(1));
    assert_eq!(class([f32::NAN, 0.25, f32::NAN, 0.25]), Some(1));
    assert_eq!(class([f32::NAN; 4]), None);
    assert_eq!(class([f32::NEG_INFINITY; 4]), None);
}

#[test]
fn outputs_that_are_not_the_heads_are_refused() {
    let decode = |head: &Head, outputs: &[&[f32]]| {
        head.decode(outputs, 0.5, &mut [Candidate::default(); 4]).unwrap_err()
    };
    let maps = head(Arrangement::Maps, Boxes::Grid, true, false);
    let first = vec![0.0; 8 * 12 * 10];
    assert_eq!(decode(&maps, &[&first]), DecodeError::Outputs { needed: 3, found: 1 });
    let error = DecodeError::Length { output: 1, needed: 4 * 6 * 10, found: 7 };
    assert_eq!(decode(&maps, &[&first, &first[..7], &[]]), error);
    let rows = head(Arrangement::Rows, Boxes::Centre, false, false);
    let error = DecodeError::Length { output: 0, needed: 9, found: 10 };
    assert_eq!(decode(&rows, &[&first[..10]]), error);
    let huge = Head { classes: u32::MAX, ..rows };
    assert_eq!(decode(&huge, &[&first]), DecodeError::Head);
}

/// The definition: again and again the best of the rest, which takes its rivals with it.
fn quadratic_suppression(mut rest: Vec<Candidate>, iou: f32) -> Vec<Candidate> {
    let mut kept = Vec::new();
    let key = |c: &Candidate| (if c.score.is_nan() { f32::NEG_INFINITY } else { c.score }, c.index);
    while let Some(best) = rest.iter().copied().reduce(|a, b| {
        let ((score_a, a_index), (score_b, b_index)) = (key(&a), key(&b));
        if score_b > score_a || (score_b == score_a && b_index < a_index) { b } else { a }
    }) {
        kept.push(best);
        rest.retain(|other| {
            let rival = other.class == best.class && overlap(best.rect, other.rect) > iou;
            other.index != best.index && !rival
        });
    }
    kept
}

fn overlap(a: Rect, b: Rect) -> f32 {
    let side = |lo: f32, hi: f32| (hi - lo).max(0.0);
    let area = |r: Rect| side(r.left, r.right) * side(r.top, r.bottom);
    let w = side(a.left.max(b.left), a.right.min(b.right));
    let common = w * side(a.top.max(b.top), a.bottom.min(b.bottom));
    common / (area(a) + area(b) - common)
}

/// Candidates on a small raster, so that many have the same score or the same rectangle.
fn crowd(random: &mut Random, count: u32) -> Vec<Candidate> {
    let mut coordinate = |top: u32| (random.bits() % top) as f32;
    let one = |index| {
        let (left, top) = (coordinate(8), coordinate(8));
        let (right, bottom) = (left + coordinate(7), top + coordinate(7));
        let rect = Rect { left, top, right, bottom };
        let (score, class) = (coordinate(5) / 4.0, coordinate(3) as u32);
        Candidate { rect, score, class, index }
    };
    (0..count).map(one).collect()
}

fn shuffle(candidates: &mut [Candidate], random: &mut Random) {
    for last in (1..candidates.len()).rev() {
        candidates.swap(last, random.bits() as usize % (last + 1));
    }
}

#[test]
fn suppression_is_the_quadratic_one_in_any_order_with_ties_and_nan() {
    let mut random = Random(4);
    for case in 0..300 {
        let count = random.bits() % 60;
        let mut candidates = crowd(&mut random, count);
        if let (3.., Some(one)) = (case % 7, candidates.first_mut()) {
            one.rect.left = f32::NAN;
        }
        if let (5.., Some(one)) = (case % 7, candidates.last_mut()) {
            one.score = f32::NAN;
        }
        for iou in [-1.0, 0.0, 0.3, 0.5, 0.99, 1.0, f32::NAN] {
            let expected = quadratic_suppression(candidates.clone(), iou);
            shuffle(&mut candidates, &mut random);
            let mut found = candidates.clone();
            let kept = suppress(&mut found, iou);
            let indices = |list: &[Candidate]| list.iter().map(|c| c.index).collect::<Vec<_>>();
            assert_eq!(indices(&found[..kept]), indices(&expected), "case {case}, {iou}");
            found.sort_by_key(|candidate| candidate.index);
            assert!(found.iter().map(|c| c.index).eq(0..count), "nothing is lost");
        }
    }
}

#[test]
fn overlap_is_intersection_over_union() {
    let rect = |left, top, right, bottom| Rect { left, top, right, bottom };
    let unit = rect(0.0, 0.0, 2.0, 2.0);
    assert_eq!(unit.overlap(&unit), 1.0);
    assert_eq!(unit.overlap(&rect(1.0, 0.0, 3.0, 2.0)), 2.0 / 6.0);
    assert_eq!(unit.overlap(&rect(2.0, 0.0, 4.0, 2.0)), 0.0);
    assert_eq!(unit.overlap(&rect(9.0, 9.0, 5.0, 5.0)), 0.0, "turned inside out is nothing");
    assert!(rect(1.0, 1.0, 1.0, 1.0).overlap(&rect(3.0, 3.0, 3.0, 3.0)).is_nan());
}

#[test]
fn letterboxes_keep_proportions_and_lie_where_trainers_put_them() {
    let at = |fit, h, w, input| Letterbox::new(fit, Hw { h, w }, input).unwrap();
    let placed = |l: Letterbox| (l.placed.h, l.placed.w, l.top, l.left);
    let square = Hw::square(640);
    assert_eq!(placed(at(Fit::Centre, 1080, 810, square)), (640, 480, 0, 80));
    assert_eq!(placed(at(Fit::Corner, 1080, 810, square)), (640, 480, 0, 0));
    assert_eq!(placed(at(Fit::Stretch, 1080, 810, square)), (640, 640, 0, 0));
    // 640 * 333 / 1000 = 213.12; the 427 rows around it are 213 above and 214 below.
    assert_eq!(placed(at(Fit::Centre, 333, 1000, square)), (213, 640, 213, 0));
    // 640 * 427 / 640 enlarged by 1.5: 640.5 columns of 960, rounded up, and down.
    let wide = Hw { h: 960, w: 960 };
    assert_eq!(placed(at(Fit::Centre, 640, 427, wide)), (960, 641, 0, 159));
    assert_eq!(placed(at(Fit::Corner, 640, 427, wide)), (960, 640, 0, 0));
    assert_eq!(placed(at(Fit::Centre, 1, 100_000, square)), (1, 640, 319, 0));
    for (source, input) in [((0, 5), square), ((5, 0), square), ((5, 5), Hw { h: 0, w: 5 })] {
        assert_eq!(Letterbox::new(Fit::Centre, Hw { h: source.0, w: source.1 }, input), None);
    }
}

#[test]
fn a_letterbox_undone_gives_the_rectangle_back() {
    let mut random = Random(5);
    for case in 0..2000 {
        let mut side = |top: u32| 1 + random.bits() % top;
        let (source, input) =
            (Hw { h: side(999), w: side(999) }, Hw { h: side(640), w: side(640) });
        let fit = [Fit::Stretch, Fit::Centre, Fit::Corner][case % 3];
        let letterbox = Letterbox::new(fit, source, input).unwrap();
        let [h, w] = [source.h, source.w].map(|side| side as f32);
        let (x, y) = (random.within(0.0, w, 2), random.within(0.0, h, 2));
        let rect = Rect { left: x[0], top: y[0], right: x[1], bottom: y[1] };
        let inside = letterbox.place(rect);
        for (x, y) in [(inside.left, inside.top), (inside.right, inside.bottom)] {
            let (left, top) = (letterbox.left as f32, letterbox.top as f32);
            let (width, height) = (letterbox.placed.w as f32, letterbox.placed.h as f32);
            assert!((left - 1e-3..=left + width + 1e-3).contains(&x), "{letterbox:?}");
            assert!((top - 1e-3..=top + height + 1e-3).contains(&y), "{letterbox:?}");
        }
        for (edge, expected) in edges(letterbox.undo(inside)).into_iter().zip(edges(rect)) {
            // In f32, relative to the coordinates of both sides.
            let scale =
                source.h.max(source.w) as f32 / letterbox.placed.h.min(letterbox.placed.w) as f32;
            let bound = 1e-6 * (640.0 * scale + 999.0);
            assert!((edge - expected).abs() <= bound, "{letterbox:?}: {edge} {expected}");
        }
        let outside = Rect { left: -9e9, top: -9e9, right: 9e9, bottom: f32::INFINITY };
        assert_eq!(edges(letterbox.undo(outside)), [0.0, 0.0, w, h]);
        assert!(letterbox.undo(Rect { left: f32::NAN, ..rect }).left.is_nan());
    }
}

#[test]
fn detections_are_suppressed_and_lie_in_the_picture() {
    let head = Head { classes: 1, ..head(Arrangement::Rows, Boxes::Centre, false, false) };
    // A picture twice as large as the input, with rows left over above and below.
    let letterbox = Letterbox::new(Fit::Centre, Hw { h: 64, w: 192 }, INPUT).unwrap();
    let output = [
        [20.0, 40.0, 10.0, 8.0, 0.9],
        [21.0, 40.0, 10.0, 8.0, 0.8],
        [80.0, 24.0, 40.0, 40.0, 0.7],
        [50.0, 40.0, 10.0, 8.0, 0.29],
    ]
    .concat();
    let mut found = [Candidate::default(); 8];
    let count = head.detect(&[&output], &letterbox, &mut found).unwrap();
    let rects: Vec<_> = found[..count].iter().map(|c| (edges(c.rect), c.index)).collect();
    assert_eq!(rects, [([30.0, 40.0, 50.0, 56.0], 0), ([120.0, 0.0, 192.0, 56.0], 2)]);
}

/// A network whose outputs have the shapes that [`head()`] reads in each arrangement, or the first
/// of them `wrong`.
fn network(head: &Head, wrong: Option<&[u32]>) -> StrandBuilder {
    let mut net = StrandBuilder::new();
    let picture = net.input("picture", Dims { h: 64, w: 96, c: 3 });
    let (f, a) = (head.fields().unwrap() as u32, u32::from(head.anchor_count));
    let n: u32 = STRIDES.iter().map(|s| a * (64 / s) * (96 / s)).sum();
    let shapes: Vec<Vec<u32>> = match head.arrangement {
        Arrangement::Rows => vec![vec![1, n, f]],
        Arrangement::Columns => vec![vec![1, f, n]],
        Arrangement::Maps => STRIDES.map(|s| vec![1, a * f, 64 / s, 96 / s]).to_vec(),
        Arrangement::Planes => STRIDES.map(|s| vec![1, a, 64 / s, 96 / s, f]).to_vec(),
    };
    net.step_in_place(picture, Op::Activate(Activation::RELU));
    for (index, shape) in shapes.iter().enumerate() {
        let shape = wrong.filter(|_| index == 0).unwrap_or(shape);
        let dims = match *shape {
            [1, c, h, w] => Dims { h, w, c },
            _ => Dims::vector(shape.iter().product()),
        };
        let map = net.map(dims);
        net.port(&format!("y{index}"), true, map, shape);
    }
    net
}

/// What a file with this section is refused with.
fn refusal(net: &StrandBuilder, section: Vec<u8>) -> Option<FormatError> {
    let bytes = net.finish();
    let (header, mut sections) = (*open(&bytes).header(), sections_of(&bytes));
    sections.push((SectionKind::Head.number(), SectionKind::Head.required(), section));
    let bytes = assemble(header, &sections);
    let model = Model::new(&bytes);
    if let Ok(model) = &model {
        assert!(model.head().is_some());
    }
    model.err()
}

#[test]
fn a_file_keeps_its_head_and_one_without_has_none() {
    for head in heads() {
        let net = network(&head, None);
        let plain = net.finish();
        assert_eq!(open(&plain).head(), None);
        let mut sections = sections_of(&plain);
        sections.push((SectionKind::Head.number(), false, postcard_bytes(&head)));
        let bytes = assemble(*open(&plain).header(), &sections);
        assert_eq!(open(&bytes).head(), Some(head));
    }
}

#[test]
fn each_wrong_head_is_refused_with_its_reason() {
    type Bend = fn(&mut Head);
    let cases: &[(Bend, HeadFault)] = &[
        (|head| head.classes = 0, HeadFault::Classes),
        (|head| head.classes = u32::MAX, HeadFault::Classes),
        (|head| head.boxes = Boxes::Distances { bins: 0 }, HeadFault::Bins),
        (|head| head.boxes = Boxes::Distances { bins: 65 }, HeadFault::Bins),
        (|head| head.score_threshold = f32::NAN, HeadFault::Threshold),
        (|head| head.iou_threshold = 1.5, HeadFault::Threshold),
        (|head| head.level_count = 0, HeadFault::Levels),
        (|head| head.level_count = MAX_LEVELS as u8 + 1, HeadFault::Levels),
        (|head| head.anchor_count = 0, HeadFault::AnchorCount),
        (|head| head.anchor_count = MAX_ANCHORS as u8 + 1, HeadFault::AnchorCount),
        (|head| head.levels[1].stride = 0, HeadFault::Stride { level: 1 }),
        (|head| head.levels[1].stride = 64, HeadFault::Stride { level: 1 }),
        (|head| head.levels[4].stride = 8, HeadFault::Stride { level: 4 }),
        (|head| head.levels[2].anchors[1].w = 0.0, HeadFault::Anchor { level: 2 }),
        (|head| head.levels[2].anchors[0].h = f32::INFINITY, HeadFault::Anchor { level: 2 }),
        (|head| head.levels[0].anchors[2].h = 1.0, HeadFault::Anchor { level: 0 }),
        (|head| head.input.h = 32, HeadFault::Input { expected: Hw { h: 32, w: 96 } }),
        (|head| head.arrangement = Arrangement::Columns, HeadFault::Output { index: 0 }),
        (|head| head.classes = 6, HeadFault::Output { index: 0 }),
        (|head| head.extra = 1, HeadFault::Output { index: 0 }),
        (|head| head.extra = u32::MAX, HeadFault::Classes),
        (|head| head.levels[2].stride = 16, HeadFault::Output { index: 2 }),
    ];
    let right = head(Arrangement::Maps, Boxes::Anchors, true, true);
    let net = network(&right, None);
    assert_eq!(refusal(&net, postcard_bytes(&right)), None);
    for (index, (bend, fault)) in cases.iter().enumerate() {
        let mut bent = right;
        bend(&mut bent);
        let error = FormatError::Head { fault: *fault };
        assert_eq!(refusal(&net, postcard_bytes(&bent)), Some(error), "case {index}");
    }
    let undecodable = Some(FormatError::Head { fault: HeadFault::Undecodable });
    let whole = postcard_bytes(&right);
    assert_eq!(refusal(&net, whole[..whole.len() - 1].to_vec()), undecodable);
    assert_eq!(refusal(&net, [&whole[..], &[0]].concat()), undecodable);
}

#[test]
fn names_of_classes_are_as_many_as_the_classes_of_a_head() {
    let right = head(Arrangement::Rows, Boxes::Centre, true, false);
    let bytes = network(&right, None).finish();
    let names = |names: &[&str]| names.iter().flat_map(postcard_bytes).collect::<Vec<u8>>();
    let with = |head: Option<Head>, labels: Vec<u8>| {
        let mut sections = sections_of(&bytes);
        let head = head.map(|head| (SectionKind::Head.number(), false, postcard_bytes(&head)));
        sections.extend(head);
        sections.push((SectionKind::Labels.number(), false, labels));
        assemble(*open(&bytes).header(), &sections)
    };
    let five = ["a", "b", "c", "d", "\u{e9}t\u{e9}"];
    for head in [Some(right), None] {
        assert!(open(&with(head, names(&five))).labels().eq(five));
        let whole = names(&five);
        for bad in [names(&["a", "b", "c", "d", ""]), names(&["a", "b", "c", "d", "\n"])] {
            assert_eq!(Model::new(&with(head, bad)).err(), Some(FormatError::Labels));
        }
        let cut = whole[..whole.len() - 1].to_vec();
        assert_eq!(Model::new(&with(head, cut)).err(), Some(FormatError::Labels));
    }
    let four = with(Some(right), names(&five[..4]));
    assert_eq!(Model::new(&four).err(), Some(FormatError::Labels));
    assert!(open(&with(None, names(&five[..4]))).labels().eq(["a", "b", "c", "d"]));
    assert_eq!(open(&bytes).labels().count(), 0);
}

#[test]
fn outputs_of_another_shape_are_refused_in_every_arrangement() {
    for head in heads() {
        let f = head.fields().unwrap() as u32;
        for wrong in [&[1, f][..], &[1, 7, f], &[2, 126, f], &[1, f, 8, 13], &[1, 9, 8, 12, f]] {
            let accepted = !head.boxes.needs_cells() && head.arrangement == Arrangement::Rows;
            let accepted = accepted && matches!(wrong, [1, 7, _]);
            let expected = FormatError::Head { fault: HeadFault::Output { index: 0 } };
            let found = refusal(&network(&head, Some(wrong)), postcard_bytes(&head));
            assert_eq!(found, (!accepted).then_some(expected), "{head:?} {wrong:?}");
        }
    }
}

#[test]
fn no_head_and_no_outputs_do_more_than_fail() {
    let mut random = Random(6);
    let (mut decoded, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut head = random.pick(&heads());
        let small = [0, 1, 2, 3, 5, 8, 64, u32::MAX];
        match random.bits() % 8 {
            0 => head.input.h = random.pick(&small),
            1 => head.classes = random.pick(&small),
            2 => head.level_count = random.bits() as u8,
            3 => head.anchor_count = random.bits() as u8,
            4 => head.levels[random.bits() as usize % MAX_LEVELS].stride = random.pick(&small),
            5 => head.boxes = Boxes::Distances { bins: random.pick(&small) },
            _ => {}
        }
        let n = random.bits() as usize % 4;
        let length = |random: &mut Random| match head.predictions().zip(head.fields()) {
            Some((n, f)) if n * f < 10_000 && random.bits().is_multiple_of(2) => n * f,
            _ => random.bits() as usize % 300,
        };
        let outputs: Vec<Vec<f32>> = (0..n)
            .map(|_| (0..length(&mut random)).map(|_| f32::from_bits(random.bits())).collect())
            .collect();
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let mut memory = [Candidate::default(); 5];
        let letterbox = Letterbox::new(Fit::Centre, Hw { h: 7, w: 3 }, INPUT).unwrap();
        match head.detect(&outputs, &letterbox, &mut memory) {
            Ok(count) => decoded += usize::from(count > 0),
            Err(_) => refused += 1,
        }
    }
    assert!(decoded > 500 && refused > 500, "both happen: {decoded}, {refused}");
}
