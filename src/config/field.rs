//! One declaration per option: the [`config!`](crate::config!) and [`choices!`](crate::choices!) macros and what they generate.

pub mod limits;

pub use limits::{Limits, above};

use super::error::{ConfigError, nearest};
use super::value::{Choice, FieldValue, render};
use toml::Value;

/// What a change of the option changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Read at each replay of the program; may carry a schedule.
    Hyper,
    /// Changes the graph, so the program is traced anew.
    Shape,
    /// Belongs to an optimiser.
    Opt,
    /// An option of the run around the program.
    Run,
}

impl Class {
    /// Class of a declaration's first word. Fails at compile time on any other word.
    pub const fn of(word: &str) -> Self {
        match word.as_bytes() {
            b"hyper" => Self::Hyper,
            b"shape" => Self::Shape,
            b"opt" => Self::Opt,
            b"run" => Self::Run,
            _ => panic!("a config! field starts with hyper, shape, opt or run"),
        }
    }

    /// The word that declares it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Shape => "shape",
            Self::Opt => "opt",
            Self::Run => "run",
        }
    }
}

/// One option as declared.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name inside its section.
    pub key: &'static str,
    /// What a change of it changes.
    pub class: Class,
    /// Its type in words, for example `a number`.
    pub expected: String,
    /// Its default.
    pub default: Value,
    /// Interval that its numbers must lie in.
    pub limits: Limits,
    /// The words it accepts, when it is one of a closed list.
    pub choices: &'static [Choice],
    /// Its meaning in one line.
    pub about: &'static str,
}

impl Field {
    /// What is accepted: type and range, or the list of words.
    pub fn accepts(&self) -> String {
        if !self.choices.is_empty() {
            let words: Vec<String> = self.choices.iter().map(Choice::form).collect();
            return format!("one of {}", words.join(", "));
        }
        if self.limits.is_open() {
            self.expected.clone()
        } else {
            format!("{} in {}", self.expected, self.limits)
        }
    }
}

/// A group of options under one name; the name is the registry key of the algorithm,
/// adaptation or stage that reads it. Implemented by [`config!`](crate::config!).
pub trait Section: Default + Clone + PartialEq + 'static {
    /// Name in files and in `--set NAME.key=value`.
    const NAME: &'static str;
    /// What the section configures, in one line.
    const ABOUT: &'static str;
    /// The declared options, in order.
    fn fields() -> &'static [Field];
    /// The value of `key` as TOML; `None` if there is no such key.
    fn get(&self, key: &str) -> Option<Value>;
    /// Sets `key` after checking type and range; an error leaves everything as it was.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError>;
}

/// Reads and checks one value; used by [`config!`](crate::config!). Errors: a value of another type, outside the range,
/// or not among the words.
pub fn parse<T: FieldValue>(section: &str, field: &Field, value: &Value) -> Result<T, ConfigError> {
    T::from_toml(value).filter(|v| v.within(&field.limits)).ok_or_else(|| ConfigError::Value {
        place: format!("{section}.{}", field.key),
        expected: field.accepts(),
        got: render(value),
        default: render(&field.default),
        nearest: value.as_str().and_then(|got| {
            let bare = split_argument(got.trim()).map_or(got, |(bare, _)| bare);
            // Of a right word it is the argument that is wrong.
            let known = field.choices.iter().any(|c| c.bare() == bare);
            (!known).then(|| nearest(got, field.choices.iter().map(|c| c.word))).flatten()
        }),
    })
}

/// The error for a key that a section does not declare; used by [`config!`](crate::config!).
pub fn unknown_key(section: &str, key: &str, fields: &[Field]) -> ConfigError {
    ConfigError::UnknownKey {
        section: section.to_string(),
        key: key.to_string(),
        nearest: nearest(key, fields.iter().map(|f| f.key)).map(|k| format!("{section}.{k}")),
    }
}

/// Declares a section: a public struct with one field per option, its `Default`, and its
/// [`Section`] implementation. One line per option:
/// `class key: Type = default, range, "meaning";`
///
/// - class: `hyper` (read at each replay), `shape` (changes the graph), `opt`, `run`;
/// - type: `f64`, `usize`, `u64`, `bool`, `String`, `NetSpec`, `Schedule`, `AdamConfig`, `AutoOr` of one of the first four,
///   or an enum from [`choices!`](crate::choices!);
/// - range: `..`, `0.0..1.0`, `0.0..=1.0`, `1..`, [`above(0.0)`](crate::config::above), ...
///
/// ```
/// use baq::config::{AdamConfig, NetSpec, Schedule, Section, above};
///
/// baq::choices! {
///     /// In which order the losses are applied.
///     Order {
///         Official = "official", "V, policy, Q; y and A use the new V";
///         Corl = "corl", "Q, V, policy; y and A use the old V";
///     }
/// }
///
/// baq::config! {
///     DemoConfig "demo", "A section for this example" {
///         hyper expectile: Schedule   = 0.7,             0.5..1.0,   "tau of the value loss";
///         hyper k_q:       f64        = 0.5,             above(0.0), "distance at which a weight falls to 1/e";
///         shape hidden:    NetSpec    = [256, 256],      1..,        "hidden layers of every network";
///         shape order:     Order      = Order::Official, ..,         "order of the losses";
///         opt   actor:     AdamConfig = 3e-4,            0.0..,      "policy optimiser";
///     }
/// }
///
/// let mut c = DemoConfig::default();
/// assert_eq!(c.hidden.hidden, [256, 256]);
/// c.set("order", &toml::Value::String("corl".into())).unwrap();
/// assert_eq!(c.order, Order::Corl);
/// assert_eq!(
///     c.set("expectile", &toml::Value::Float(1.5)).unwrap_err().to_string(),
///     "demo.expectile: expected a number or a schedule in [0.5, 1), got 1.5 (default 0.7)",
/// );
/// ```
#[macro_export]
macro_rules! config {
    ( $(#[$meta:meta])* $name:ident $section:literal, $about:literal {
        $( $class:ident $key:ident : $ty:ty = $default:expr, $limits:expr, $doc:literal ; )*
    } ) => {
        $(#[$meta])*
        #[doc = concat!($about, ". Section `", $section, "` of a configuration.")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( #[doc = $doc] pub $key: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $crate::config::value::default::<$ty, _>($default), )* }
            }
        }

        impl $crate::config::Section for $name {
            const NAME: &'static str = $section;
            const ABOUT: &'static str = $about;

            fn fields() -> &'static [$crate::config::Field] {
                static FIELDS: std::sync::LazyLock<Vec<$crate::config::Field>> =
                    std::sync::LazyLock::new(|| {
                        let declared = $name::default();
                        vec![ $( $crate::config::Field {
                            key: stringify!($key),
                            class: const { $crate::config::Class::of(stringify!($class)) },
                            expected: <$ty as $crate::config::value::FieldValue>::expected(),
                            default: $crate::config::value::FieldValue::to_toml(&declared.$key),
                            limits: $crate::config::Limits::from($limits),
                            choices: <$ty as $crate::config::value::FieldValue>::choices(),
                            about: $doc,
                        }, )* ]
                    });
                &FIELDS
            }

            fn get(&self, key: &str) -> Option<$crate::config::toml::Value> {
                match key {
                    $( stringify!($key) =>
                        Some($crate::config::value::FieldValue::to_toml(&self.$key)), )*
                    _ => None,
                }
            }

            fn set(
                &mut self,
                key: &str,
                value: &$crate::config::toml::Value,
            ) -> Result<(), $crate::config::ConfigError> {
                let Some(field) = Self::fields().iter().find(|f| f.key == key) else {
                    return Err($crate::config::field::unknown_key(
                        Self::NAME, key, Self::fields(),
                    ));
                };
                match key {
                    $( stringify!($key) => {
                        self.$key = $crate::config::field::parse(Self::NAME, field, value)?;
                    } )*
                    _ => unreachable!("invariant: fields() lists every key"),
                }
                Ok(())
            }
        }
    };
}

/// Declares an enum that options may have as type: each variant with the word that stands for
/// it in files and its meaning. A variant may carry one number, written `word(0.5)`:
/// `Mix(share: f64 = 0.0..=1.0) = "mix", "meaning";` where the range bounds the number.
///
/// ```
/// use baq::config::value::FieldValue;
/// baq::choices! {
///     /// Where batches come from.
///     Buffer {
///         Append = "append", "one buffer";
///         Mix(share: f64 = 0.0..=1.0) = "mix", "this share from the offline set";
///     }
/// }
/// let mix = Buffer::from_toml(&toml::Value::String("mix(0.25)".into()));
/// assert_eq!(mix, Some(Buffer::Mix(0.25)));
/// assert_eq!(Buffer::from_toml(&toml::Value::String("mix(2)".into())), None);
/// assert_eq!(Buffer::Mix(0.25).to_string(), "mix(0.25)");
/// ```
#[macro_export]
macro_rules! choices {
    ( $(#[$meta:meta])* $name:ident {
        $( $variant:ident $( ( $arg:ident : $argty:ty = $limits:expr ) )? = $word:literal, $doc:literal ; )+
    } ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum $name {
            $( #[doc = $doc] $variant $( ( $argty ) )? , )+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $( Self::$variant $( ( $arg ) )? => {
                        f.write_str($word)?;
                        $( write!(f, "({:?})", $arg)?; )?
                    } )+
                }
                Ok(())
            }
        }

        impl $crate::config::value::FieldValue for $name {
            fn expected() -> String {
                "a choice".into()
            }
            fn to_toml(&self) -> $crate::config::toml::Value {
                $crate::config::toml::Value::String(self.to_string())
            }
            fn from_toml(value: &$crate::config::toml::Value) -> Option<Self> {
                let text = value.as_str()?.trim();
                let (word, argument) = $crate::config::field::split_argument(text)?;
                match word {
                    $( $word => $crate::__choice!(
                        argument, $name::$variant $( , $argty, $limits )?
                    ), )+
                    _ => None,
                }
            }
            fn within(&self, _: &$crate::config::Limits) -> bool {
                true
            }
            fn choices() -> &'static [$crate::config::Choice] {
                const ALL: &[$crate::config::Choice] = &[ $( $crate::config::Choice {
                    word: concat!($word $( , "(", stringify!($arg), ")" )?),
                    limits: || $crate::__limits!($( $limits )?),
                    about: $doc,
                } ),+ ];
                ALL
            }
        }
    };
}

/// One variant with or without its number; of no use outside [`choices!`](crate::choices!).
#[doc(hidden)]
#[macro_export]
macro_rules! __choice {
    ($argument:ident, $variant:path) => {
        if $argument.is_none() { Some($variant) } else { None }
    };
    ($argument:ident, $variant:path, $argty:ty, $limits:expr) => {
        $crate::config::field::argument::<$argty>($argument?, $crate::config::Limits::from($limits))
            .map($variant)
    };
}

/// The limits of a variant's number, if it has one; of no use outside [`choices!`](crate::choices!).
#[doc(hidden)]
#[macro_export]
macro_rules! __limits {
    () => {
        None
    };
    ($limits:expr) => {
        Some($crate::config::Limits::from($limits))
    };
}

/// `word(argument)` or `word` taken apart; used by [`choices!`](crate::choices!).
pub fn split_argument(text: &str) -> Option<(&str, Option<&str>)> {
    match text.split_once('(') {
        None => Some((text, None)),
        Some((word, rest)) => Some((word.trim(), Some(rest.strip_suffix(')')?.trim()))),
    }
}

/// The number in a choice's parentheses; used by [`choices!`](crate::choices!).
pub fn argument<T: FieldValue>(text: &str, limits: Limits) -> Option<T> {
    let number: f64 = text.replace('_', "").parse().ok()?;
    T::from_toml(&Value::Float(number)).filter(|v| v.within(&limits))
}
