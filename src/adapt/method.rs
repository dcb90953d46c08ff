//! A method: a base algorithm, what modifies it, and what makes up transitions for both.

use std::fmt;
use std::str::FromStr;

use super::registry::{self, ADAPTATIONS, GENERATORS, NONE, PLAIN};
use crate::algo::{self, Entry};
use crate::config::{Config, ConfigError, RunConfig, hint};

/// A base algorithm, what modifies it and what makes up transitions, by their names in the registries; `iql + baq` or
/// `iql + pex + cfdg` in tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// base algorithm
    pub algo: String,
    /// adaptation
    pub adapt: String,
    /// generator, or [`NONE`]
    pub generator: String,
}

impl Method {
    /// Of these names, whether or not the registries have them.
    pub fn new(algo: &str, adapt: &str) -> Method {
        let adapt = if adapt.is_empty() { PLAIN } else { adapt };
        Method { algo: algo.into(), adapt: adapt.into(), generator: NONE.into() }
    }

    /// The same with a generator.
    pub fn with(self, generator: &str) -> Method {
        let generator = if generator.is_empty() { NONE } else { generator };
        Method { generator: generator.into(), ..self }
    }

    /// The method of a configuration.
    pub fn of(config: &Config) -> Method {
        let run: RunConfig = config.section();
        Method::new(&run.algo, &run.adapt).with(&run.generator)
    }

    /// Whether the base goes on as it is.
    pub fn is_plain(&self) -> bool {
        self.adapt == PLAIN && !self.generates()
    }

    /// Whether transitions are made up.
    pub fn generates(&self) -> bool {
        self.generator != NONE
    }

    /// The registry's line of the generator, if there is one; an error that names the nearest.
    pub fn generator(&self) -> Result<Option<&'static Entry<registry::BuildGenerator>>, ConfigError> {
        self.generates().then(|| line("generator", GENERATORS.iter().collect(), &self.generator)).transpose()
    }

    /// The registry's line of the base; an error that names the nearest.
    pub fn algorithm(&self) -> Result<&'static Entry<algo::Build>, ConfigError> {
        line("algorithm", algo::all().collect(), &self.algo)
    }

    /// The registry's line of the adaptation; an error that names the nearest.
    pub fn adaptation(&self) -> Result<&'static Entry<registry::Build>, ConfigError> {
        line("adaptation", ADAPTATIONS.iter().collect(), &self.adapt)
    }

    /// The sections of a configuration that it reads. Errors: a name that its registry does not have.
    pub fn sections(&self) -> Result<Vec<&'static str>, ConfigError> {
        let (base, modifier) = (self.algorithm()?, self.adaptation()?);
        let mut all = base.sections();
        all.extend(modifier.sections());
        all.extend(self.generator()?.iter().flat_map(|e| e.sections()));
        Ok(all)
    }

    /// Its part of the name of a run directory: the algorithm and what else tells its runs apart, the adaptation where
    /// there is `tuning`.
    pub fn folder(&self, preset: Option<&str>, tuning: bool) -> String {
        let mut name = preset.unwrap_or(&self.algo).to_string();
        if !name.starts_with(&self.algo) {
            name = format!("{}-{name}", self.algo);
        }
        match (tuning, self.generates()) {
            (false, _) => name,
            (true, false) => format!("{name}-{}", self.adapt),
            (true, true) => format!("{name}-{}-{}", self.adapt, self.generator),
        }
    }

    /// Its name in tables, which tells readings of one adaptation apart: `iql + suf (ratios alone)`; `option` gives the
    /// text of an option of the adaptation's section.
    pub fn title(&self, option: impl Fn(&str) -> String) -> String {
        let variants = self.adaptation().map_or(&[][..], |e| e.variants);
        match variants.iter().find(|(key, value, _)| option(key) == *value) {
            Some((_, _, variant)) => format!("{self} ({variant})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.algo)?;
        let more = [(self.adapt != PLAIN, &self.adapt), (self.generates(), &self.generator)];
        more.iter().filter(|(there, _)| *there).try_for_each(|(_, name)| write!(f, " + {name}"))
    }
}

impl FromStr for Method {
    type Err = ConfigError;

    /// Reads what [`Method`] prints, and refuses names that the registries do not have.
    fn from_str(text: &str) -> Result<Method, ConfigError> {
        let (algo, more) = text.split_once('+').unwrap_or((text, PLAIN));
        let (adapt, generator) = match more.split_once('+') {
            Some((adapt, generator)) => (adapt, generator),
            None if registry::find_generator(more.trim()).is_some() => (PLAIN, more),
            None => (more, NONE),
        };
        let method = Method::new(algo.trim(), adapt.trim()).with(generator.trim());
        method.sections()?;
        Ok(method)
    }
}

fn line<B>(what: &str, all: Vec<&'static Entry<B>>, name: &str) -> Result<&'static Entry<B>, ConfigError> {
    all.iter().copied().find(|e| e.name == name).ok_or_else(|| {
        let names = || all.iter().map(|e| e.name);
        let (hint, known): (_, Vec<&str>) = (hint(name, names()), names().collect());
        ConfigError::Other(format!("unknown {what} `{name}`{hint}; known: {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_prints() {
        for (algo, adapt, text) in [("iql", "plain", "iql"), ("cql", "off2on", "cql + off2on")] {
            let method = Method::new(algo, adapt);
            assert_eq!((method.to_string().as_str(), method.is_plain()), (text, adapt == "plain"));
            assert_eq!(text.parse::<Method>().unwrap(), method);
        }
        for (adapt, text) in [("plain", "iql + cfdg"), ("pex", "iql + pex + cfdg")] {
            let method = Method::new("iql", adapt).with("cfdg");
            assert_eq!((method.to_string().as_str(), method.is_plain()), (text, false));
            assert_eq!(text.parse::<Method>().unwrap(), method);
        }
        let error = "iql + bag".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("`bag`; did you mean `baq`?"), "{error}");
    }

    #[test]
    fn readings_have_names() {
        let of = |value: &'static str| Method::new("iql", "suf").title(|_| value.into());
        assert_eq!(of("true"), "iql + suf (unconstrained)");
        assert_eq!(of("false"), "iql + suf (ratios alone)");
        assert_eq!(Method::new("iql", "").title(|_| String::new()), "iql");
    }
}
