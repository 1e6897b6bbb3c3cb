//! Steps that only move values: views, boxes and padding under every CPU mask, against their formula.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Pad};
use unbraid_runtime::kernels::copy::{Args, run};
use unbraid_runtime::step::{Op, PadMode, Step, View};
use unbraid_tests::formula::{MAPS, at, check, each, one_step};
use unbraid_tests::rng::Random;
use unbraid_tests::steps::{planar, view};
use unbraid_tests::strand_builder::StrandBuilder;

/// What a kernel must leave as it is.
const GUARD: f32 = -7.25e17;

/// The values that a view shows, one behind the other.
fn shown(view: &View, x: &[f32]) -> Vec<f64> {
    let mut addresses = vec![i64::from(view.offset)];
    for (&extent, &stride) in view.extent.iter().zip(&view.strides) {
        let steps = |&from: &i64| (0..extent).map(move |k| from + i64::from(k) * i64::from(stride));
        addresses = addresses.iter().flat_map(steps).collect();
    }
    addresses.into_iter().map(|a| f64::from(x[usize::try_from(a).unwrap()])).collect()
}

/// Views of every kind over an input of at least 720 values.
fn views() -> Vec<View> {
    vec![
        view(&[(720, 1)], 0),
        view(&[(7, -1)], 6),
        view(&[(9, 0)], 5),
        // A transposed matrix, narrower and wider than a tile, and one column of it.
        view(&[(40, 1), (18, 40)], 0),
        view(&[(18, 1), (40, 18)], 0),
        view(&[(1, 1), (40, 18)], 3),
        view(&[(3, 240), (16, 1), (15, 16)], 0),
        view(&[(3, 240), (15, 1), (16, 15)], 0),
        // Pixel shuffles by 2 of 4 x 5 pixels with 36 channels, depth first and column first.
        view(&[(4, 180), (2, 18), (5, 36), (2, 9), (9, 1)], 0),
        view(&[(4, 180), (2, 2), (5, 36), (2, 1), (9, 4)], 0),
        // Crops, forwards, backwards and with gaps.
        view(&[(3, 144), (2, 72), (5, 12), (4, 3)], 13),
        view(&[(3, -144), (2, 72), (5, -12), (4, -3)], 288 + 48 + 9),
        // Six axes, some repeated.
        view(&[(2, 360), (3, 0), (3, 8), (2, 4), (2, 2), (2, 1)], 30),
        view(&[(2, 0), (2, 1), (3, 120), (2, 60), (5, 12), (6, 2)], 0),
    ]
}

#[test]
fn views_show_what_their_loops_say() {
    let input = Dims { h: 8, w: 9, c: 10 };
    let x = Random(1).vec(720);
    for view in views() {
        let elements = u32::try_from(view.elements().unwrap()).unwrap();
        let net = one_step(input, Dims::vector(elements), Op::Rearrange(view));
        check(&net, &x, &shown(&view, &x), &format!("{view:?}"));
    }
}

#[test]
fn maps_become_planes() {
    let mut random = Random(2);
    for dims in MAPS {
        let x = random.vec(dims.elements().unwrap());
        let plane = |c| each(Dims { c: 1, ..dims }, |y, w, _| x[at(dims, y, w, c)].into());
        let expected: Vec<f64> = (0..dims.c).flat_map(plane).collect();
        let planes = Dims::vector(dims.h * dims.w * dims.c);
        check(&one_step(dims, planes, planar(dims)), &x, &expected, "planar");
    }
}

/// Every band of a copy gives what the whole copy gives, and leaves what is around it.
fn check_bands(args: &Args<'_, f32>, before: &[f32]) {
    let (rows, row) = (args.rows(), args.output_row());
    let mut whole = before.to_vec();
    run(args, 0..rows, &mut whole).unwrap();
    for band in [1, 2, 3, 5, rows] {
        for first in (0..rows).step_by(band) {
            let last = rows.min(first + band);
            let values = first * row..last * row;
            let mut y = [&[GUARD], &before[values.clone()], &[GUARD]].concat();
            let inner = 1..y.len() - 1;
            run(args, first..last, &mut y[inner.clone()]).unwrap();
            assert_eq!(y[inner], whole[values], "rows {first} to {last}: {args:?}");
            assert!(y[0] == GUARD && y[y.len() - 1] == GUARD, "rows {first} to {last}: {args:?}");
        }
    }
    let mut y = vec![GUARD; row];
    assert_eq!(run(args, rows..rows + 1, &mut y), None);
    assert_eq!(run(args, 0..1, &mut y[..row - 1]), None);
    assert!(y.iter().all(|&y| y == GUARD), "refused, but wrote");
}

#[test]
fn bands_of_copies_are_parts_of_the_whole() {
    let input = Dims { h: 8, w: 9, c: 10 };
    let x = Random(3).vec(720);
    for view in views() {
        let args = Args::rearrange(&view, &x).unwrap();
        check_bands(&args, &vec![GUARD; view.elements().unwrap()]);
    }
    let output = Dims { h: 11, w: 12, c: 13 };
    let before = Random(4).vec(output.elements().unwrap());
    for at in [[0; 3], [1, 2, 3], [3, 3, 3]] {
        check_bands(&Args::into(at, input, output, &x).unwrap(), &before);
    }
    let pad = Pad { top: 1, left: 2, bottom: 2, right: 1 };
    for mode in MODES {
        let fill = if let PadMode::Constant(value) = mode { value } else { 0.0 };
        check_bands(
            &Args::pad(&pad, mode, fill, (input, Dims { h: 11, w: 12, c: 10 }), &x).unwrap(),
            &{ vec![GUARD; 11 * 12 * 10] },
        );
    }
}

#[test]
fn copies_refuse_what_does_not_fit() {
    let (dims, x) = (Dims { h: 2, w: 3, c: 4 }, [0.5; 24]);
    assert!(Args::rearrange(&view(&[(24, 1)], 0), &x).is_some());
    for (axes, offset) in [([(24, 1)], 1), ([(2, -1)], 0), ([(0, 1)], 0)] {
        assert!(Args::rearrange(&view(&axes, offset), &x).is_none(), "{axes:?}");
    }
    assert!(Args::into([0; 3], dims, dims, &x).is_some());
    for at in [[1, 0, 0], [0, 1, 0], [0, 0, 1]] {
        assert!(Args::into(at, dims, dims, &x).is_none());
    }
    assert!(Args::into([0; 3], dims, dims, &x[1..]).is_none());
    let pad = Pad { bottom: 1, ..Pad::default() };
    assert!(Args::pad(&pad, PadMode::Edge, 0.0, (dims, Dims { h: 3, ..dims }), &x).is_some());
    assert!(Args::pad(&pad, PadMode::Edge, 0.0, (dims, dims), &x).is_none());
    assert!(Args::pad(&pad, PadMode::Edge, 0.0, (dims, Dims { h: 3, ..dims }), &x[1..]).is_none());
}

#[test]
fn boxes_leave_the_values_around_them() {
    let mut random = Random(5);
    for dims in MAPS {
        let x = random.vec(dims.elements().unwrap());
        let wide = Dims { h: 2 * dims.h, w: dims.w + 2, c: dims.c + 3 };
        // Seven corners of the output, then one box over parts of them.
        let corners = [0, 1, 2, 3, 4, 5, 6, 7].map(|corner: u32| {
            let pick = |bit: u32, room: u32| if corner >> bit & 1 == 1 { room } else { 0 };
            [pick(0, dims.h), pick(1, 2), pick(2, 3)]
        });
        let mut net = StrandBuilder::new();
        let input = net.input("x", dims);
        let output = net.map(wide);
        let ats = [&corners[..], &[[dims.h / 2, 1, 1]]].concat();
        for &at in &ats {
            net.steps.push(Step { input, output, op: Op::CopyInto { at } });
        }
        net.output("y", output);
        let expected = each(wide, |y, column, c| {
            let inside = |[h, w, ch]: &&[u32; 3]| {
                (*h..h + dims.h).contains(&y)
                    && (*w..w + dims.w).contains(&column)
                    && (*ch..ch + dims.c).contains(&c)
            };
            let last = ats.iter().rev().find(inside);
            last.map_or(f64::from(POISON), |[h, w, ch]| {
                x[at(dims, y - h, column - w, c - ch)].into()
            })
        });
        check(&net, &x, &expected, &format!("{dims:?}"));
    }
}

/// What memory holds before a session runs here.
const POISON: f32 = f32::from_bits(0xA5A5_A5A5);

const MODES: [PadMode; 5] = [
    PadMode::Constant(0.0),
    PadMode::Constant(-1.5),
    PadMode::Reflect,
    PadMode::Edge,
    PadMode::Wrap,
];

/// The pixel of an axis that padding shows, by counting; `None` is the constant.
fn source(mode: PadMode, at: i64, len: i64) -> Option<i64> {
    match mode {
        _ if (0..len).contains(&at) => Some(at),
        PadMode::Constant(_) => None,
        PadMode::Edge => Some(at.clamp(0, len - 1)),
        PadMode::Wrap => Some(at.rem_euclid(len)),
        PadMode::Reflect => {
            let period = (2 * (len - 1)).max(1);
            let at = at.rem_euclid(period);
            Some(at.min(period - at))
        }
    }
}

#[test]
fn padding_matches_its_formula() {
    let mut random = Random(6);
    for (dims, mode) in MAPS.into_iter().flat_map(|dims| MODES.map(|mode| (dims, mode))) {
        let x = random.vec(dims.elements().unwrap());
        let most = |len: u32| if mode == PadMode::Reflect { len - 1 } else { len };
        let (h, w) = (most(dims.h), most(dims.w));
        for pad in [
            Pad { top: h, left: w, bottom: h, right: w },
            Pad { top: h.min(1), left: 0, bottom: 0, right: w.min(2) },
            Pad { top: 0, left: w.min(3), bottom: h.min(2), right: 0 },
        ] {
            let out = Dims {
                h: dims.h + pad.top + pad.bottom,
                w: dims.w + pad.left + pad.right,
                c: dims.c,
            };
            let expected = each(out, |y, column, c| {
                let row = source(mode, i64::from(y) - i64::from(pad.top), dims.h.into());
                let from = source(mode, i64::from(column) - i64::from(pad.left), dims.w.into());
                match (row.zip(from), mode) {
                    (Some((row, from)), _) => x
                        [at(dims, u32::try_from(row).unwrap(), u32::try_from(from).unwrap(), c)]
                    .into(),
                    (None, PadMode::Constant(value)) => value.into(),
                    (None, _) => unreachable!("other modes show a pixel"),
                }
            });
            let net = one_step(dims, out, Op::Pad { pad, mode });
            check(&net, &x, &expected, &format!("{mode:?} {pad:?} {dims:?}"));
        }
    }
}
