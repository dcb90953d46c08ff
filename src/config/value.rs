//! The types an option may have, and how each is written in TOML.

use super::field::limits::{Limits, MOST};
use crate::autodiff::{Adam, Schedule};
use std::ops::RangeInclusive;
use toml::Value;

/// One word of a closed list, declared by [`choices!`](crate::choices!).
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// How it is written; with its argument's name in parentheses if it takes one.
    pub word: &'static str,
    /// The interval that its argument must lie in; none without one.
    pub limits: fn() -> Option<Limits>,
    /// What it means, in one line.
    pub about: &'static str,
}

impl Choice {
    /// How it is written, with what its argument may be: `mix(share in [0, 1])`.
    pub fn form(&self) -> String {
        match ((self.limits)(), self.word.strip_suffix(')')) {
            (Some(limits), Some(open)) => format!("{open} in {limits})"),
            _ => self.word.into(),
        }
    }

    /// The word without its argument.
    pub fn bare(&self) -> &'static str {
        self.word.split_once('(').map_or(self.word, |(bare, _)| bare)
    }
}

/// A type that options may have.
pub trait FieldValue: Clone + PartialEq {
    /// Name of the type in help and errors, for example `a number`.
    fn expected() -> String;
    /// Value as TOML; [`FieldValue::from_toml`] gives back an equal value.
    fn to_toml(&self) -> Value;
    /// Value from TOML; `None` when it is of another type or not among the choices.
    fn from_toml(value: &Value) -> Option<Self>;
    /// Whether the value is inside `limits`.
    fn within(&self, limits: &Limits) -> bool;
    /// The words accepted, for types with a closed list of them.
    fn choices() -> &'static [Choice] {
        &[]
    }
}

/// Conversions allowed in the default of a declaration, so that `= 3.0` declares a schedule.
pub trait IntoField<T> {
    /// The default as the field's type.
    fn into_field(self) -> T;
}

impl<T: FieldValue> IntoField<T> for T {
    fn into_field(self) -> T {
        self
    }
}
impl IntoField<Schedule> for f64 {
    fn into_field(self) -> Schedule {
        Schedule::Constant(self)
    }
}
impl IntoField<AdamConfig> for f64 {
    fn into_field(self) -> AdamConfig {
        AdamConfig::new(Schedule::Constant(self))
    }
}
impl IntoField<AdamConfig> for Schedule {
    fn into_field(self) -> AdamConfig {
        AdamConfig::new(self)
    }
}
impl IntoField<AutoOr<f64>> for f64 {
    fn into_field(self) -> AutoOr<f64> {
        AutoOr::Value(self)
    }
}
impl IntoField<AutoOr<usize>> for usize {
    fn into_field(self) -> AutoOr<usize> {
        AutoOr::Value(self)
    }
}
impl IntoField<String> for &str {
    fn into_field(self) -> String {
        self.to_string()
    }
}

/// The default of a declaration as its field's type; used by [`config!`](crate::config!).
pub fn default<T, V: IntoField<T>>(value: V) -> T {
    value.into_field()
}

/// `auto`, to be worked out from the data, or a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AutoOr<T> {
    /// Worked out where it is used; the option's meaning says how.
    Auto,
    /// Given.
    Value(T),
}

impl<T: Copy> AutoOr<T> {
    /// The given value, or what `auto` computes.
    pub fn or_else(&self, auto: impl FnOnce() -> T) -> T {
        match *self {
            Self::Auto => auto(),
            Self::Value(v) => v,
        }
    }
}

/// An Adam optimiser. Text form: a schedule (the learning rate), or an inline table
/// `{ lr = 0.0003, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.01, clip = 1.0 }` in which everything but `lr` may be
/// left out; without `decay` parameters do not decay, without `clip` no gradient is too long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Learning rate by update.
    pub lr: Schedule,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// Decay of the parameters beside the step (AdamW); 0: none.
    pub decay: f64,
    /// Largest norm of the gradient; 0: any.
    pub clip: f64,
}

impl AdamConfig {
    /// The usual moments with this learning rate.
    pub fn new(lr: Schedule) -> Self {
        Self { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0, clip: 0.0 }
    }

    /// The optimiser as a phase of its own has it.
    pub fn adam(&self) -> Adam {
        let Self { lr, beta1, beta2, eps, decay, clip } = *self;
        Adam { lr, ahead: 0, beta1, beta2, eps, decay, clip }
    }
}

/// Decay rates of Adam; beyond the last, 1 minus the rate is lost in f32.
const BETA: RangeInclusive<f64> = 0.0..=0.999999;
/// The addend that keeps Adam's quotient finite, in f32 too.
const EPS: RangeInclusive<f64> = 1e-16..=1.0;
/// Decay of parameters, and the largest norm of a gradient; at 0 they are off.
const OFF_OR_ON: RangeInclusive<f64> = 0.0..=1e6;

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(v) => Some(*v),
        Value::Integer(v) => Some(*v as f64),
        _ => None,
    }
    .filter(|v| v.is_finite())
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(v) => u64::try_from(*v).ok(),
        // `2e6` is how people write a capacity.
        Value::Float(v) if v.fract() == 0.0 && (0.0..=9.0e15).contains(v) => Some(*v as u64),
        // TOML's integers end at 2^63 - 1; the upper half of the seeds is written as text.
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn from_whole(v: u64) -> Value {
    i64::try_from(v).map_or_else(|_| Value::String(v.to_string()), Value::Integer)
}

impl FieldValue for f64 {
    fn expected() -> String {
        "a number".into()
    }
    fn to_toml(&self) -> Value {
        Value::Float(*self)
    }
    fn from_toml(value: &Value) -> Option<Self> {
        number(value)
    }
    fn within(&self, limits: &Limits) -> bool {
        limits.contains(*self)
    }
}

impl FieldValue for u64 {
    fn expected() -> String {
        "a whole number".into()
    }
    fn to_toml(&self) -> Value {
        from_whole(*self)
    }
    fn from_toml(value: &Value) -> Option<Self> {
        whole(value)
    }
    fn within(&self, limits: &Limits) -> bool {
        limits.contains(*self as f64)
    }
}

impl FieldValue for usize {
    fn expected() -> String {
        "a whole number".into()
    }
    fn to_toml(&self) -> Value {
        from_whole(*self as u64)
    }
    fn from_toml(value: &Value) -> Option<Self> {
        whole(value).and_then(|v| usize::try_from(v).ok())
    }
    fn within(&self, limits: &Limits) -> bool {
        limits.contains(*self as f64)
    }
}

impl FieldValue for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_bool()
    }
    fn within(&self, _: &Limits) -> bool {
        true
    }
}

impl FieldValue for String {
    fn expected() -> String {
        "text".into()
    }
    fn to_toml(&self) -> Value {
        Value::String(self.clone())
    }
    fn from_toml(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_string)
    }
    fn within(&self, _: &Limits) -> bool {
        true
    }
}

impl FieldValue for Schedule {
    fn expected() -> String {
        "a number or a schedule".into()
    }
    fn to_toml(&self) -> Value {
        match self {
            Self::Constant(v) => Value::Float(*v),
            moving => Value::String(moving.to_string()),
        }
    }
    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.parse().ok(),
            other => number(other).map(Self::Constant),
        }
    }
    /// Both ends must be inside, what lies between follows; and the length must be one that a run can have.
    fn within(&self, limits: &Limits) -> bool {
        let length = match *self {
            Self::Constant(_) => None,
            Self::Linear { steps, .. } | Self::Cosine { steps, .. } | Self::Step { steps, .. } => Some(steps),
        };
        let fits = length.is_none_or(|n| n == Self::AUTO || n <= MOST as u64);
        fits && self.ends().iter().all(|v| limits.contains(*v))
    }
}

impl FieldValue for AdamConfig {
    fn expected() -> String {
        "a learning rate or a schedule, alone or as { lr = .., beta1 = .., beta2 = .., eps = .., decay = .., clip = .. } with betas in [0, 0.999999], eps in [1e-16, 1], decay and clip in [0, 1e6],".into()
    }
    fn to_toml(&self) -> Value {
        if *self == Self::new(self.lr) {
            return self.lr.to_toml();
        }
        let mut table = toml::Table::new();
        table.insert("lr".into(), self.lr.to_toml());
        table.insert("beta1".into(), Value::Float(self.beta1));
        table.insert("beta2".into(), Value::Float(self.beta2));
        table.insert("eps".into(), Value::Float(self.eps));
        for (key, value) in [("decay", self.decay), ("clip", self.clip)] {
            if value != 0.0 {
                table.insert(key.into(), Value::Float(value));
            }
        }
        Value::Table(table)
    }
    fn from_toml(value: &Value) -> Option<Self> {
        let Value::Table(table) = value else {
            return Schedule::from_toml(value).map(Self::new);
        };
        let mut adam = Self::new(Schedule::from_toml(table.get("lr")?)?);
        for (key, value) in table {
            match key.as_str() {
                "lr" => {}
                "beta1" => adam.beta1 = number(value).filter(|b| BETA.contains(b))?,
                "beta2" => adam.beta2 = number(value).filter(|b| BETA.contains(b))?,
                "eps" => adam.eps = number(value).filter(|e| EPS.contains(e))?,
                "decay" => adam.decay = number(value).filter(|d| OFF_OR_ON.contains(d))?,
                "clip" => adam.clip = number(value).filter(|n| OFF_OR_ON.contains(n))?,
                _ => return None,
            }
        }
        Some(adam)
    }
    /// The limits are those of the learning rate.
    fn within(&self, limits: &Limits) -> bool {
        self.lr.within(limits)
    }
}

impl<T: FieldValue> FieldValue for AutoOr<T> {
    fn expected() -> String {
        format!("auto or {}", T::expected())
    }
    fn to_toml(&self) -> Value {
        match self {
            Self::Auto => Value::String("auto".into()),
            Self::Value(v) => v.to_toml(),
        }
    }
    fn from_toml(value: &Value) -> Option<Self> {
        match value.as_str() {
            Some("auto") => Some(Self::Auto),
            _ => T::from_toml(value).map(Self::Value),
        }
    }
    fn within(&self, limits: &Limits) -> bool {
        match self {
            Self::Auto => true,
            Self::Value(v) => v.within(limits),
        }
    }
}

/// A value as it stands in a TOML file, on one line.
pub fn render(value: &Value) -> String {
    match value {
        // Debug is the shortest text that reads back to the same bits.
        Value::Float(v) => format!("{v:?}"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(render).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let items: Vec<String> = table.iter().map(|(k, v)| format!("{k} = {}", render(v))).collect();
            format!("{{ {} }}", items.join(", "))
        }
        other => other.to_string(),
    }
}
