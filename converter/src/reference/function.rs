//! The oracle's element-wise functions, in f64.

use crate::graph::{Binary, Function};

/// The value of a function, as [`Function`] defines it.
pub(crate) fn apply(function: Function, x: f64) -> f64 {
    match function {
        Function::Sigmoid => sigmoid(x),
        Function::Tanh => x.tanh(),
        Function::Erf => libm::erf(x),
        Function::Gelu => x / 2.0 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2)),
        Function::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Function::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Function::Silu => x * sigmoid(x),
        Function::Exp => x.exp(),
        Function::Sqrt => x.sqrt(),
        Function::Softplus => softplus(x),
        Function::Mish => x * softplus(x).tanh(),
        Function::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
        Function::Elu { .. } => x,
        Function::Abs => x.abs(),
        Function::Neg => -x,
        Function::Reciprocal => 1.0 / x,
        Function::Log => x.ln(),
        Function::Floor => x.floor(),
        Function::Ceil => x.ceil(),
        Function::Round => x.round_ties_even(),
        Function::Sign if x == 0.0 => x,
        Function::Sign => x.signum(),
    }
}

/// The value of a function of two values, as [`Binary`] defines it.
pub(crate) fn combine(function: Binary, a: f64, b: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        Binary::Pow => a.powf(b),
        Binary::Equal => truth(a == b),
        Binary::Greater => truth(a > b),
        Binary::GreaterOrEqual => truth(a >= b),
        Binary::Keep if a == 0.0 => 0.0,
        Binary::Keep => b,
        Binary::Drop if a == 0.0 => b,
        Binary::Drop => 0.0,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
