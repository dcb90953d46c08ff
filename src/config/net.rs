//! What a network is like, as the value of an option.

use std::fmt;

use super::field::limits::Limits;
use super::value::{FieldValue, IntoField};
use toml::Value;

/// The longest list of layers.
const MOST_LAYERS: usize = 16;

/// What normalises a hidden layer, by a trained gain and shift.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Norm {
    /// nothing
    #[default]
    None,
    /// layer normalisation before the activation
    Layer {
        /// added to the variance
        eps: f64,
    },
    /// layer normalisation after the activation
    LayerAfter {
        /// added to the variance
        eps: f64,
    },
}

impl Norm {
    /// Whether it has a gain and a shift.
    pub fn is_some(self) -> bool {
        self != Norm::None
    }
}

/// What a hidden layer's sums go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// max(x, 0)
    #[default]
    Relu,
    /// x / (1 + e^(-2 √(2/π) (x + 0.044715 x³))), the tanh form of the Gaussian error linear unit
    Gelu,
    /// x / (1 + e^-x), the sigmoid linear unit
    Silu,
}

impl Activation {
    const ALL: [(Activation, &str); 3] =
        [(Activation::Relu, "relu"), (Activation::Gelu, "gelu"), (Activation::Silu, "silu")];

    fn word(self) -> &'static str {
        let found = Activation::ALL.iter().find(|(a, _)| *a == self);
        found.expect("invariant: every activation has a word").1
    }
}

/// How all layers of a network begin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum InitScheme {
    /// weights and biases U(±1/√fan_in), as PyTorch's linear layers
    #[default]
    Torch,
    /// hidden layers as `Torch`, last weights U(±last·√(6/(fan_in + fan_out))), last biases 0
    TorchXavier {
        /// gain of the last layer
        last: f64,
    },
    /// all weights U(±√(6/(fan_in + fan_out))), biases 0
    Xavier,
    /// orthogonal weights, gain √2 in hidden layers and `last` in the last one; biases 0
    Orthogonal {
        /// gain of the last layer
        last: f64,
    },
    /// hidden weights truncated normal with variance 1/fan_in, last ones uniform with variance
    /// 0.01/fan_in; biases 0
    Lecun,
    /// hidden weights U(±1/√fan_out), last ones U(±last); biases 0
    Rlkit {
        /// bound of the last layer
        last: f64,
    },
    /// hidden weights U(±1/√fan_in), hidden biases 0.1, last weights and biases U(±last)
    FanIn {
        /// bound of the last layer
        last: f64,
    },
}

/// A network between its inputs and outputs: the widths of its hidden layers, what normalises them, their activation, how
/// they begin.
///
/// Text form: `[256, 256]`, rectifiers after either layer, or in words `"256x256 relu"`; `"256x256 layer_norm relu"`
/// normalises before the rectifier, `"256x256 relu layer_norm"` after it, with 1e-6 added to the variance or with the number in
/// `layer_norm(1e-5)`; `gelu` and `silu` stand where `relu` does. `"512x512 simba"` are two residual blocks of that width between an
/// embedding and a norm ([`crate::nn::simba`]). Initial weights are no part of the text; a method has an option of its own for them,
/// if it leaves a choice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NetSpec {
    /// widths of the hidden layers
    pub hidden: Vec<usize>,
    /// before or after every activation
    pub norm: Norm,
    /// after every hidden layer
    pub activation: Activation,
    /// initial weights
    pub init: InitScheme,
    /// all heads of an ensemble have one last layer; no part of the text either
    pub one_last: bool,
    /// hidden layers are residual blocks of [`crate::nn::simba`], one for each width, which are equal
    pub simba: bool,
    /// the last layer has no bias, for a loss that an offset common to all outputs does not move; no part of the text either
    pub unbiased_last: bool,
}

impl NetSpec {
    /// The usual addend of the variance.
    const EPS: f64 = 1e-6;

    /// The same with other initial weights.
    pub fn begin(&self, init: InitScheme) -> NetSpec {
        NetSpec { init, ..self.clone() }
    }

    fn parse(text: &str) -> Option<NetSpec> {
        let mut words = text.split_whitespace();
        let widths = words.next()?.split('x').map(|w| w.parse().ok());
        let mut net = NetSpec { hidden: widths.collect::<Option<_>>()?, ..NetSpec::default() };
        let words: Vec<&str> = words.collect();
        if words[..] == ["simba"] {
            let equal = net.hidden.windows(2).all(|w| w[0] == w[1]);
            return equal.then_some(NetSpec { simba: true, norm: Norm::Layer { eps: NetSpec::EPS }, ..net });
        }
        let activation = |word: &str| Activation::ALL.iter().find(|(_, w)| *w == word).map(|(a, _)| *a);
        (net.norm, net.activation) = match words[..] {
            [] => (Norm::None, Activation::Relu),
            [one] => match activation(one) {
                Some(activation) => (Norm::None, activation),
                // The usual activation need not be named.
                None => (Norm::Layer { eps: NetSpec::addend(one)? }, Activation::Relu),
            },
            [first, second] => match activation(first) {
                Some(activation) => (Norm::LayerAfter { eps: NetSpec::addend(second)? }, activation),
                None => (Norm::Layer { eps: NetSpec::addend(first)? }, activation(second)?),
            },
            _ => return None,
        };
        Some(net)
    }

    /// The number of `layer_norm(1e-5)`, or the usual one.
    fn addend(word: &str) -> Option<f64> {
        match word.strip_prefix("layer_norm")? {
            "" => Some(NetSpec::EPS),
            rest => {
                let number = rest.strip_prefix('(')?.strip_suffix(')')?;
                number.parse().ok().filter(|e| (1e-12..=0.1).contains(e))
            }
        }
    }
}

impl From<Vec<usize>> for NetSpec {
    fn from(hidden: Vec<usize>) -> NetSpec {
        NetSpec { hidden, ..NetSpec::default() }
    }
}

impl<const N: usize> IntoField<NetSpec> for [usize; N] {
    fn into_field(self) -> NetSpec {
        self.to_vec().into()
    }
}

impl IntoField<NetSpec> for &str {
    fn into_field(self) -> NetSpec {
        NetSpec::parse(self).expect("invariant: a declared network has the form of one")
    }
}

impl fmt::Display for NetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        f.write_str(&widths.join("x"))?;
        if self.simba {
            return f.write_str(" simba");
        }
        let norm = |eps: f64| match eps {
            NetSpec::EPS => " layer_norm".to_string(),
            eps => format!(" layer_norm({eps:?})"),
        };
        let activation = self.activation.word();
        match self.norm {
            Norm::None => write!(f, " {activation}"),
            Norm::Layer { eps } => write!(f, "{} {activation}", norm(eps)),
            Norm::LayerAfter { eps } => write!(f, " {activation}{}", norm(eps)),
        }
    }
}

impl FieldValue for NetSpec {
    fn expected() -> String {
        format!(
            "a list of at most {MOST_LAYERS} whole numbers, or words as \"256x256 layer_norm relu\" or \"512x512 simba\" (equal widths),"
        )
    }
    fn to_toml(&self) -> Value {
        match (self.norm, self.activation) {
            (Norm::None, Activation::Relu) => {
                Value::Array(self.hidden.iter().map(FieldValue::to_toml).collect())
            }
            _ => Value::String(self.to_string()),
        }
    }
    fn from_toml(value: &Value) -> Option<NetSpec> {
        match value {
            Value::String(text) => NetSpec::parse(text),
            Value::Array(widths) => {
                widths.iter().map(usize::from_toml).collect::<Option<Vec<_>>>().map(Into::into)
            }
            _ => None,
        }
    }
    /// Every width must be inside.
    fn within(&self, limits: &Limits) -> bool {
        let all = self.hidden.len() <= MOST_LAYERS;
        all && self.hidden.iter().all(|d| limits.contains(*d as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lists() {
        let of = |text: &str| NetSpec::from_toml(&Value::String(text.into()));
        let plain = NetSpec::from(vec![256, 256]);
        assert_eq!(of("256x256"), Some(plain.clone()));
        assert_eq!(of("256x256 relu"), Some(plain.clone()));
        assert_eq!(plain.to_toml(), Value::Array(vec![256.into(), 256.into()]));
        for (text, norm, activation) in [
            ("8x9 layer_norm relu", Norm::Layer { eps: 1e-6 }, Activation::Relu),
            ("8x9 layer_norm(1e-5) gelu", Norm::Layer { eps: 1e-5 }, Activation::Gelu),
            ("8x9 relu layer_norm", Norm::LayerAfter { eps: 1e-6 }, Activation::Relu),
            ("8x9 gelu layer_norm(1e-5)", Norm::LayerAfter { eps: 1e-5 }, Activation::Gelu),
            ("8x9 gelu", Norm::None, Activation::Gelu),
            ("8x9 silu", Norm::None, Activation::Silu),
            ("9x9 simba", Norm::Layer { eps: 1e-6 }, Activation::Relu),
        ] {
            let simba = text.ends_with("simba");
            let widths = if simba { vec![9, 9] } else { vec![8, 9] };
            let net = NetSpec { norm, activation, simba, ..NetSpec::from(widths) };
            assert_eq!((of(text), net.to_string().as_str()), (Some(net.clone()), text));
            assert_eq!(NetSpec::from_toml(&net.to_toml()), Some(net));
        }
        assert_eq!(of("8 layer_norm"), of("8 layer_norm relu"));
        for wrong in [
            "",
            "256y",
            "8 tanh",
            "8 layer_norm(2)",
            "8 layer_normal",
            "8 relu relu",
            "8 layer_norm layer_norm",
            "8 layer_norm relu layer_norm",
            "8x9 simba",
            "8 simba relu",
            "simba",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
