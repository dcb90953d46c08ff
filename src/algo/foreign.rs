//! What a method says of update traces of other programs: what the names, options and order of its authors are here.
//!
//! `audit::golden` looks the name of a trace up in the registries, lets the method read it, and replays it with the
//! configuration that comes out. Nothing is known there of any method.

use std::fmt::Display;

use thiserror::Error;

use super::Dims;
use crate::autodiff::Schedule;
use crate::config::{AdamConfig, Config, NetSpec};

/// The traces of one name. Where a base and an adaptation have one of the same name both read it, the base first.
pub struct Foreign {
    /// `meta.algo`
    pub name: &'static str,
    /// for an adaptation: the name of the traces that the base reads these as
    pub base: &'static str,
    /// networks that other traces do not have: their name, our group. `#` stands for the number of a copy, counted from 1
    /// there and from 0 here; a name without layers is that of a scalar, our group of one `value`; what several of their
    /// names give one group are parts of one network
    pub networks: &'static [(&'static str, &'static str)],
    /// losses that other traces do not log: our update, the keys whose sum it is
    pub losses: &'static [(&'static str, &'static [&'static str])],
    /// reads their options
    pub read: fn(&mut dyn Reading, &mut Ours) -> Result<(), Wrong>,
}

impl Foreign {
    /// Traces with the usual networks and losses.
    pub const fn new(
        name: &'static str,
        read: fn(&mut dyn Reading, &mut Ours) -> Result<(), Wrong>,
    ) -> Foreign {
        Foreign { name, base: name, networks: &[], losses: &[], read }
    }
}

/// What a trace is here.
pub struct Ours {
    /// options; sections that nobody reads keep their defaults
    pub config: Config,
    /// the phase is online
    pub online: bool,
    /// the updates are those of a model that the learner fits before its first round, by its name there
    pub fits: Option<&'static str>,
    /// rounds that schedules run over
    pub rounds: u64,
    /// rounds of one of their updates, each on an equal share of its rows, in order
    pub slices: usize,
    /// every so many-th round has the policy's update; `None`: as the base has it
    pub actor_every: Option<u64>,
    /// how their program rounded γ and τ, unless the trace says it; `None`: to double precision, and they are not the kind
    /// of constants that would show it
    pub constants: Option<Precision>,
}

/// The precision of a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits
    Single,
    /// 64 bits
    Double,
}

impl Precision {
    /// The number as that precision has it.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }
}

/// A value in a trace, or one that is missing, that is not what a method expects.
#[derive(Clone, Debug, Error)]
#[error("{file}: {key}: expected {expected}, got {got}; mend the trace or write it again")]
pub struct Wrong {
    /// file
    pub file: String,
    /// tensor or JSON key
    pub key: String,
    /// what should be there
    pub expected: String,
    /// what is
    pub got: String,
}

/// Any number.
pub const ANY: (f64, f64) = (-1e9, 1e9);
/// Numbers above 0.
pub const POSITIVE: (f64, f64) = (1e-12, 1e12);
/// Numbers from 0 to 1.
pub const SHARE: (f64, f64) = (0.0, 1.0);
const RATES: (f64, f64) = (0.0, 1e3);

/// A trace while its options are read: `meta.KEY` of its JSON, and the sizes of its networks. `None` is what is not there.
pub trait Reading {
    /// A number inside a range. Errors: the value of the key is no number, or one outside.
    fn number(&self, key: &str, range: (f64, f64)) -> Result<Option<f64>, Wrong>;
    /// A whole number from 1 to `most`. Errors: the value of the key is anything else.
    fn whole(&self, key: &str, most: u64) -> Result<Option<u64>, Wrong>;
    /// A truth value. Errors: the value of the key is neither true nor false.
    fn flag(&self, key: &str) -> Result<Option<bool>, Wrong>;
    /// A string. Errors: the value of the key is no string.
    fn text(&self, key: &str) -> Result<Option<&str>, Wrong>;
    /// Numbers. Errors: the value of the key is no list of numbers.
    fn list(&self, key: &str) -> Result<Option<Vec<f64>>, Wrong>;
    /// An error about `meta.KEY`, or about another key of either file.
    fn wrong(&self, key: &str, expected: &str, got: &str) -> Wrong;
    /// Notes what the trace leaves open.
    fn note(&mut self, note: String);
    /// Sizes of a batch; the rows are those of one of their updates.
    fn dims(&self) -> Dims;
    /// Whether the trace has the initial parameter or scalar of that name, as `actor.log_std`.
    fn has(&self, name: &str) -> bool;
    /// Widths of the layers of our group, the last with its outputs; of several copies those of the first. Empty where there
    /// is no such network.
    fn widths(&self, group: &str) -> Vec<usize>;
    /// How many copies of our group there are; 1 for one without a number, and for none.
    fn copies(&self, group: &str) -> usize;
    /// How constants are to be rounded.
    fn constants(&self) -> Precision;
}

impl dyn Reading + '_ {
    fn or<T: Display>(&mut self, key: &str, given: Option<T>, default: T) -> T {
        given.unwrap_or_else(|| {
            self.note(format!("meta.{key} is not given; {default} is assumed"));
            default
        })
    }

    /// A number; what is assumed without one is noted. Errors: as [`Reading::number`].
    pub fn number_or(&mut self, key: &str, range: (f64, f64), default: f64) -> Result<f64, Wrong> {
        let given = self.number(key, range)?;
        Ok(self.or(key, given, default))
    }

    /// A whole number, likewise. Errors: as [`Reading::whole`].
    pub fn whole_or(&mut self, key: &str, most: u64, default: u64) -> Result<u64, Wrong> {
        let given = self.whole(key, most)?;
        Ok(self.or(key, given, default))
    }

    /// A truth value, likewise. Errors: as [`Reading::flag`].
    pub fn flag_or(&mut self, key: &str, default: bool) -> Result<bool, Wrong> {
        let given = self.flag(key)?;
        Ok(self.or(key, given, default))
    }

    /// One of some words. Errors: the value of the key is no string, or none of them.
    pub fn word(&self, key: &str, words: &[&'static str]) -> Result<Option<&'static str>, Wrong> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|word| **word == text).copied();
        let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let error = || self.wrong(&format!("meta.{key}"), &quoted.join(" or "), &format!("`{text}`"));
        found.map(Some).ok_or_else(error)
    }

    /// One of some words; the first is assumed without one, and noted. Errors: as `word`.
    pub fn word_or(&mut self, key: &str, words: &[&'static str]) -> Result<&'static str, Wrong> {
        let given = self.word(key, words)?;
        Ok(self.or(key, given, words[0]))
    }

    /// A number that does not change, likewise. Errors: as [`Reading::number`].
    pub fn constant_or(&mut self, key: &str, range: (f64, f64), default: f64) -> Result<Schedule, Wrong> {
        self.number_or(key, range, default).map(Schedule::Constant)
    }

    /// The optimiser whose learning rate stands under a key. Errors: the value is no number from 0 to 1000.
    pub fn adam(&self, key: &str) -> Result<Option<AdamConfig>, Wrong> {
        Ok(self.number(key, RATES)?.map(|rate| AdamConfig::new(Schedule::Constant(rate))))
    }

    /// The optimiser whose learning rate stands under one of these keys, the first that is there. Errors: its value is
    /// no number from 0 to 1000.
    pub fn adam_or(&mut self, keys: &[&str], default: f64) -> Result<AdamConfig, Wrong> {
        for key in keys {
            if let Some(adam) = self.adam(key)? {
                return Ok(adam);
            }
        }
        self.constant_or(keys[0], RATES, default).map(AdamConfig::new)
    }

    /// The lower bound of log σ, whose upper one must be 2. Errors: `log_std_max` is there and is not 2; `log_std_min`
    /// is there and no number from -1000 to 2.
    pub fn log_std_min_or(&mut self, default: f64) -> Result<f64, Wrong> {
        self.number("log_std_max", (2.0, 2.0))?;
        self.number_or("log_std_min", (-1e3, 2.0), default)
    }

    /// An error unless a stated size is that of the tensors.
    pub fn check_size(&self, key: &str, have: usize, of: &str) -> Result<(), Wrong> {
        match self.whole(key, u64::MAX)? {
            Some(stated) if stated != have as u64 => {
                Err(self.wrong(&format!("meta.{key}"), &format!("{have}, as {of} has"), &stated.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The hidden layers of our group, without a normalisation.
    pub fn hidden(&self, group: &str) -> NetSpec {
        let mut all = self.widths(group);
        all.pop();
        all.into()
    }
}
