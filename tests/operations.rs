//! Every operation, executed by a session under every CPU mask, against its formula in f64.
#![forbid(unsafe_code)]

use unbraid_runtime::dims::{Dims, Hw, Pad, Window};
use unbraid_runtime::step::{Activation, Border, Conv, Layout, Linear, Op};
use unbraid_tests::execute::cpus;
use unbraid_tests::formula::{MAPS, at, check, each, infer, one_step};
use unbraid_tests::rng::Random;
use unbraid_tests::steps::add;
use unbraid_tests::strand_builder::StrandBuilder;

/// Taps `(ky, kx)` of an output pixel that lie inside the picture, with the pixels they read.
fn taps(window: &Window, dims: Dims, y: u32, x: u32) -> Vec<(u32, u32, u32, u32)> {
    let pixel = |at: u32, stride: u32, k: u32, dilation: u32, pad: u32, len: u32| {
        (at * stride + k * dilation).checked_sub(pad).filter(|&i| i < len)
    };
    let (k, s, d, p) = (window.kernel, window.stride, window.dilation, window.pad);
    let mut inside = Vec::new();
    for ky in 0..k.h {
        for kx in 0..k.w {
            let iy = pixel(y, s.h, ky, d.h, p.top, dims.h);
            let ix = pixel(x, s.w, kx, d.w, p.left, dims.w);
            inside.extend(iy.zip(ix).map(|(iy, ix)| (ky, kx, iy, ix)));
        }
    }
    inside
}

fn activated(y: f64, activation: Activation, slope: f32) -> f64 {
    match activation {
        Activation::None => y,
        Activation::Clamp { lo, hi } => y.clamp(lo.into(), hi.into()),
        Activation::LeakyRelu { slope } => {
            if y < 0.0 {
                y * f64::from(slope)
            } else {
                y
            }
        }
        Activation::PRelu { .. } => {
            if y < 0.0 {
                y * f64::from(slope)
            } else {
                y
            }
        }
    }
}

/// Square and oblong windows, with stride, dilation and padding on each side.
fn windows() -> Vec<Window> {
    let pad = |top, left, bottom, right| Pad { top, left, bottom, right };
    let same = Window { kernel: Hw::square(3), pad: pad(1, 1, 1, 1), ..Window::POINT };
    vec![
        Window::POINT,
        same,
        Window { stride: Hw::square(2), ..same },
        Window { pad: pad(0, 1, 2, 0), stride: Hw { h: 1, w: 3 }, ..same },
        Window { dilation: Hw { h: 2, w: 1 }, pad: pad(2, 1, 2, 1), ..same },
        Window { kernel: Hw { h: 2, w: 5 }, pad: pad(1, 3, 0, 2), ..Window::POINT },
        Window { kernel: Hw::square(2), stride: Hw::square(3), ..Window::POINT },
        // Windows of which no tap meets a picture of one row: only padding.
        Window {
            kernel: Hw { h: 2, w: 1 },
            dilation: Hw { h: 2, w: 1 },
            pad: pad(1, 0, 1, 0),
            ..Window::POINT
        },
    ]
}

/// Every window over every map that it fits: the window, the map, the output.
fn windows_over_maps() -> impl Iterator<Item = (Window, Dims, Dims)> {
    windows().into_iter().flat_map(|window| {
        MAPS.into_iter().filter_map(move |dims| {
            let Hw { h, w } = window.output(dims.h, dims.w)?;
            Some((window, dims, Dims { h, w, ..dims }))
        })
    })
}

#[test]
fn pools_match_their_formula() {
    let mut random = Random(1);
    for (window, dims, out) in windows_over_maps() {
        let x = random.vec(dims.elements().unwrap());
        let under = |y: u32, column: u32, c: u32| {
            let inside = taps(&window, dims, y, column).into_iter();
            inside.map(|(_, _, iy, ix)| f64::from(x[at(dims, iy, ix, c)])).collect::<Vec<_>>()
        };
        let largest =
            |y, column, c| under(y, column, c).into_iter().fold(f64::NEG_INFINITY, f64::max);
        let mean =
            |values: Vec<f64>, count: u32| values.iter().sum::<f64>() / f64::from(count.max(1));
        let all = window.kernel.h * window.kernel.w;
        let cases = [
            (Op::MaxPool(window), each(out, largest)),
            (
                Op::AveragePool { window, count_include_pad: true },
                each(out, |y, column, c| mean(under(y, column, c), all)),
            ),
            (
                Op::AveragePool { window, count_include_pad: false },
                each(out, |y, column, c| {
                    let values = under(y, column, c);
                    let count = u32::try_from(values.len()).unwrap();
                    mean(values, count)
                }),
            ),
        ];
        for (op, expected) in cases {
            // A maximum of nothing is no number that errors could be measured by.
            if expected.iter().all(|y| y.is_finite()) {
                check(&one_step(dims, out, op), &x, &expected, &format!("{op:?} over {dims:?}"));
            }
        }
    }
}

#[test]
fn the_maximum_of_padding_alone_is_minus_infinity() {
    let window = *windows().last().unwrap();
    let (dims, out) = (Dims { h: 1, w: 1, c: 2 }, Dims { h: 1, w: 1, c: 2 });
    for (_, cpu) in cpus() {
        let file = one_step(dims, out, Op::MaxPool(window)).finish();
        assert_eq!(infer(&file, cpu, &[3.0, 4.0]), [f32::NEG_INFINITY; 2]);
    }
}

#[test]
fn global_pools_match_their_formula() {
    let mut random = Random(2);
    for dims in MAPS {
        let x = random.vec(dims.elements().unwrap());
        let pixels = f64::from(dims.h * dims.w);
        let mean = |_, _, c| {
            each(Dims { c: 1, ..dims }, |y, column, _| x[at(dims, y, column, c)].into())
                .iter()
                .sum::<f64>()
                / pixels
        };
        let vector = Dims::vector(dims.c);
        check(&one_step(dims, vector, Op::GlobalAveragePool), &x, &each(vector, mean), "global");
    }
}

/// All kinds of activation; PReLU with `slopes` for as many channels as given.
fn activations(net: &mut StrandBuilder, slopes: &[f32]) -> [Activation; 5] {
    [
        Activation::None,
        Activation::RELU,
        Activation::Clamp { lo: -0.25, hi: 0.5 },
        Activation::LeakyRelu { slope: 0.125 },
        Activation::PRelu { slopes: net.weights(slopes) },
    ]
}

#[test]
fn elementwise_operations_match_their_formula_in_place_and_not() {
    let mut random = Random(4);
    for dims in MAPS {
        let c = dims.c as usize;
        let x = random.vec(dims.elements().unwrap());
        let (scale, shift, slopes) = (random.vec(c), random.vec(c), random.vec(c));
        for in_place in [false, true] {
            for which in 0..5 {
                let mut net = StrandBuilder::new();
                let input = net.input("x", dims);
                let activation = activations(&mut net, &slopes)[which];
                let (scale_at, shift_at) = (net.weights(&scale), net.weights(&shift));
                // A second operand that differs from the first.
                let other =
                    net.step(input, dims, Op::Activate(Activation::LeakyRelu { slope: 3.0 }));
                let ops = [
                    Op::Activate(activation),
                    Op::ScaleShift { scale: scale_at, shift: shift_at, activation },
                    add(other, activation),
                ];
                let mut map = input;
                for op in ops {
                    map =
                        if in_place { net.step_in_place(map, op) } else { net.step(map, dims, op) };
                }
                net.output("y", map);
                let expected = each(dims, |y, column, channel| {
                    let (value, i) = (f64::from(x[at(dims, y, column, channel)]), channel as usize);
                    let other = if value < 0.0 { value * 3.0 } else { value };
                    let act = |y: f64| activated(y, activation, slopes[i]);
                    act(act(act(value) * f64::from(scale[i]) + f64::from(shift[i])) + other)
                });
                check(
                    &net,
                    &x,
                    &expected,
                    &format!("{activation:?} {dims:?} in place: {in_place}"),
                );
            }
        }
    }
}

#[test]
fn softmax_matches_its_formula() {
    let mut random = Random(5);
    for dims in MAPS {
        let x: Vec<f32> = random.vec(dims.elements().unwrap()).iter().map(|x| x * 20.0).collect();
        let value = |y, column, c| f64::from(x[at(dims, y, column, c)]);
        let softmax = each(dims, |y, column, c| {
            let sum: f64 =
                (0..dims.c).map(|i| (value(y, column, i) - value(y, column, c)).exp()).sum();
            1.0 / sum
        });
        check(&one_step(dims, dims, Op::Softmax), &x, &softmax, "softmax");
    }
}

#[test]
fn softmax_of_extremes_is_a_number() {
    let dims = Dims::vector(4);
    for (_, cpu) in cpus() {
        let x = [1e30, -1e30, 88.0, 104.0];
        let softmax = infer(&one_step(dims, dims, Op::Softmax).finish(), cpu, &x);
        assert_eq!(softmax, [1.0, 0.0, 0.0, 0.0]);
    }
}

#[test]
fn dense_layers_match_their_formula() {
    let mut random = Random(6);
    for dims in MAPS {
        for outputs in [1, 15, 16, 17, 50] {
            for which in 0..5 {
                let (inputs, panels) = (dims.elements().unwrap(), usize::div_ceil(outputs, 16));
                // Sums of about 1, so that a clamp does not hide what the error is measured by.
                let shrink = 1.0 / (inputs as f32).sqrt();
                let x: Vec<f32> = random.vec(inputs).iter().map(|x| x * shrink).collect();
                let weights = random.vec(panels * inputs * 16);
                let (bias, slopes) = (random.vec(panels * 16), random.vec(panels * 16));
                let mut net = StrandBuilder::new();
                let input = net.input("x", dims);
                let activation = activations(&mut net, &slopes)[which];
                let linear =
                    Linear { weights: net.weights(&weights), bias: net.weights(&bias), activation };
                let out = Dims::vector(u32::try_from(outputs).unwrap());
                let output = net.step(input, out, Op::Linear(linear));
                net.output("y", output);
                let expected: Vec<f64> = (0..outputs)
                    .map(|o| {
                        let weight = |k: usize| weights[(o / 16 * inputs + k) * 16 + o % 16];
                        let products = (0..inputs).map(|k| f64::from(weight(k)) * f64::from(x[k]));
                        activated(f64::from(bias[o]) + products.sum::<f64>(), activation, slopes[o])
                    })
                    .collect();
                check(&net, &x, &expected, &format!("{dims:?} -> {outputs} {activation:?}"));
            }
        }
    }
}

#[test]
fn depthwise_convolutions_match_their_formula() {
    let mut random = Random(7);
    for (window, dims, out) in windows_over_maps() {
        for which in 0..5 {
            let blocks = dims.c.div_ceil(16) as usize;
            let (kh, kw) = (window.kernel.h as usize, window.kernel.w as usize);
            let border = Border {
                top: u32::from(out.h > 1),
                left: out.w / 2,
                bottom: u32::from(out.h > 2),
                right: u32::from(out.w > 3),
            };
            let (row_classes, column_classes) = border.classes();
            let x = random.vec(dims.elements().unwrap());
            let weights = random.vec(blocks * kh * kw * 16);
            let bias = random.vec((row_classes * column_classes) as usize * blocks * 16);
            let slopes = random.vec(blocks * 16);
            let mut net = StrandBuilder::new();
            let input = net.input("x", dims);
            let activation = activations(&mut net, &slopes)[which];
            let conv = Conv {
                window,
                groups: dims.c,
                layout: Layout::F32Dw16,
                weights: net.weights(&weights),
                bias: net.weights(&bias),
                border,
                activation,
                scratch: 0,
            };
            let output = net.step(input, out, Op::Conv(conv));
            net.output("y", output);
            let class = |at: u32, lo: u32, hi: u32, len: u32| {
                if at < lo { at } else { (at + 1 + hi).saturating_sub(len) + lo }
            };
            let expected = each(out, |y, column, c| {
                let (block, lane) = (c as usize / 16, c as usize % 16);
                let row_class = class(y, border.top, border.bottom, out.h);
                let class =
                    row_class * column_classes + class(column, border.left, border.right, out.w);
                let sum = f64::from(bias[(class as usize * blocks + block) * 16 + lane]);
                let products =
                    taps(&window, dims, y, column).into_iter().map(|(ky, kx, iy, ix)| {
                        let tap = (block * kh + ky as usize) * kw + kx as usize;
                        f64::from(weights[tap * 16 + lane]) * f64::from(x[at(dims, iy, ix, c)])
                    });
                activated(sum + products.sum::<f64>(), activation, slopes[c as usize])
            });
            check(&net, &x, &expected, &format!("{window:?} {dims:?} {activation:?}"));
        }
    }
}
