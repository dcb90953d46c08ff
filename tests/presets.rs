//! Presets and declarations of options against every section there is.

use baq::config::{
    AnySection, AuditConfig, DataConfig, OfflineConfig, OnlineConfig, PRESETS, RunConfig, help_text, resolve,
    section,
};
use baq::{adapt, algo};

/// All sections: those of every run, then those of the registries.
fn known() -> Vec<Box<dyn AnySection>> {
    let mut known = vec![
        section::<RunConfig>(),
        section::<DataConfig>(),
        section::<OfflineConfig>(),
        section::<OnlineConfig>(),
        section::<AuditConfig>(),
    ];
    known.extend(algo::ALGORITHMS.iter().filter_map(|entry| entry.section).map(|make| make()));
    known.extend(adapt::ADAPTATIONS.iter().filter_map(|entry| entry.section).map(|make| make()));
    known.extend(adapt::GENERATORS.iter().filter_map(|entry| entry.section).map(|make| make()));
    known
}

#[test]
fn every_preset_resolves_and_its_file_reads_back() {
    for preset in PRESETS {
        let config = resolve(known(), Some(preset.name), None, &[]).unwrap_or_else(|error| panic!("{error}"));
        let run: RunConfig = config.section();
        assert!(algo::find(&run.algo).is_some(), "{}: algo {}", preset.name, run.algo);
        assert!(adapt::find(&run.adapt).is_some(), "{}: adapt {}", preset.name, run.adapt);
        let generator = adapt::find_generator(&run.generator);
        assert!(generator.is_some() || run.generator == "none", "{}: {}", preset.name, run.generator);
        let mut back = resolve(known(), None, None, &[]).expect("defaults resolve");
        back.apply_text("resolved", &config.to_toml())
            .unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        assert_eq!(back, config, "{}", preset.name);
    }
}

#[test]
fn defaults_are_in_range_and_sections_are_told_apart() {
    let mut names: Vec<&str> = Vec::new();
    for mut section in known() {
        assert!(!names.contains(&section.name()), "[{}] is declared twice", section.name());
        names.push(section.name());
        for field in section.fields() {
            section.set(field.key, &field.default).unwrap_or_else(|error| panic!("{error}"));
            let table = help_text(section.as_ref());
            assert!(table.contains(field.about), "{}.{}", section.name(), field.key);
        }
    }
}

/// Ranges keep sizes, sums of counts and f32 finite; nothing but the seed, of which every number is one, goes without.
#[test]
fn every_number_has_both_bounds() {
    for mut section in known() {
        for field in section.fields() {
            let place = format!("{}.{}", section.name(), field.key);
            let number = !field.expected.ends_with("true or false") && field.expected != "text";
            let is_number = field.choices.is_empty() && number;
            let limits = field.limits;
            let bounded = !limits.contains(f64::INFINITY) && !limits.contains(f64::NEG_INFINITY);
            assert!(!is_number || place == "run.seed" || bounded, "{place}");
            for word in field.choices.iter().filter_map(|c| c.word.split_once('(')).map(|(word, _)| word) {
                for beyond in ["1e308", "-1e308", "nan"] {
                    let value = toml::Value::String(format!("{word}({beyond})"));
                    assert!(section.set(field.key, &value).is_err(), "{place}: {value}");
                }
            }
        }
    }
}

#[test]
fn corl_exceptions_are_exceptions() {
    use baq::algo::iql::IqlConfig;
    use baq::config::Schedule;
    let iql = |preset| {
        let config = resolve(known(), Some(preset), None, &[]).expect(preset);
        config.section::<IqlConfig>()
    };
    assert_eq!(iql("iql"), IqlConfig::default(), "the official setting is the default");
    let corl = iql("iql_corl");
    let medium = iql("iql_corl-hopper-medium");
    assert_eq!(medium, iql("iql_corl-hopper-medium-replay"));
    assert_eq!(medium.polyak, Schedule::Constant(0.001));
    assert_ne!(medium.actor_head, corl.actor_head);
    let expert = iql("iql_corl-hopper-medium-expert");
    assert_eq!(expert.expectile, Schedule::Constant(0.5));
    assert_eq!(expert.temperature, Schedule::Constant(6.0));
    assert_eq!(expert.order, corl.order);
}

/// The authors' rate of the policy goes on online, states are standardised; the two differ in the mean.
#[test]
fn awac_and_awac_corl_keep_the_rate_of_the_policy_online() {
    use baq::algo::awac::{AwacConfig, Mean};
    use baq::config::{AdamConfig, ObservationScaling, OnlineActorLr};
    let of = |preset| resolve(known(), Some(preset), None, &[]).expect(preset);
    for (preset, mean) in [("awac", Mean::Tanh), ("awac_corl", Mean::Linear)] {
        let config = of(preset);
        let (awac, online): (AwacConfig, OnlineConfig) = (config.section(), config.section());
        assert_eq!((awac.mean, awac.actor), (mean, AdamConfig::new(3e-4.into())), "{preset}");
        assert_eq!(online.actor_lr, OnlineActorLr::Constant(1.0), "{preset}");
        assert_eq!(
            config.section::<DataConfig>().observation_scaling,
            ObservationScaling::Standardise,
            "{preset}"
        );
    }
}

/// IQL's policy ends at a rate of 0 and goes on at a tenth of the one before; those of a constant rate keep it, unless a user says
/// otherwise.
#[test]
fn policies_of_a_constant_rate_keep_it_online() {
    use baq::config::{OnlineActorLr, resolve_over};
    for entry in algo::ALGORITHMS.iter().filter(|entry| entry.needs_data) {
        let preset = PRESETS.iter().map(|preset| preset.name).find(|name| *name == entry.name);
        let below = (entry.name, entry.defaults);
        let config = resolve_over(known(), below, preset, ("", ""), None, &[]);
        let online: OnlineConfig = config.unwrap_or_else(|error| panic!("{error}")).section();
        let falls = ["bc", "iql"].contains(&entry.name);
        assert_eq!(online.actor_lr, OnlineActorLr::Constant(if falls { 0.1 } else { 1.0 }), "{}", entry.name);
    }
}

#[test]
fn several_updates_of_the_policy_are_for_the_order_of_cleanrl() {
    use baq::algo::Dims;
    use baq::nn::Params;
    let build = |sets: &[&str]| {
        let sets: Vec<String> = [&["run.algo=sac"], sets].concat().iter().map(|s| s.to_string()).collect();
        let config = resolve(known(), None, None, &sets).unwrap_or_else(|error| panic!("{error}"));
        let dims = Dims { s: 3, a: 1, batch: 4 };
        let sac = algo::find("sac").expect("in the registry");
        (sac.build)(&config, dims, &mut Params::default()).map(|learner| learner.delay().every)
    };
    let every = ["sac.actor_every=2", "sac.actor_updates=2"];
    let error = build(&every).expect_err("refused").to_string();
    assert!(error.contains("sac.actor_updates = 2") && error.contains("sac.order = cleanrl"), "{error}");
    assert_eq!(build(&[&every[..], &["sac.order=cleanrl"]].concat()).ok(), Some(2));
}

/// What a file leaves open is the preset's, unless it names one itself.
#[test]
fn the_usual_preset_stands_below_a_file() {
    use baq::cli::Common;
    use baq::cli::setup::RunArgs;
    use baq::config::Exploration;
    let folder = tempfile::tempdir().expect("a directory");
    let of = |text: &str| {
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, text).expect("written");
        let args = RunArgs { config: Some(file), env: Some("toy".into()), ..RunArgs::default() };
        let config = args.resolve(Common::of_library(), Some("td3"), None).unwrap_or_else(|e| panic!("{e}"));
        config.section::<OnlineConfig>()
    };
    let said = of("[online]\neval_every = 500\n");
    assert_eq!((said.exploration, said.eval_every), (Exploration::Noise, 500));
    assert_eq!(of("[online]\nexploration = \"greedy\"\n").exploration, Exploration::Greedy);
    // A second one beside it would be refused.
    assert_eq!(of("inherit = \"td3\"\n").exploration, Exploration::Noise);
}
