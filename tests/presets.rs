//! Presets and declarations of options against every section there is.

use baq::config::{
    AnySection, AuditConfig, DataConfig, OfflineConfig, OnlineConfig, PRESETS, RunConfig, help_markdown,
    help_text, resolve, section,
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
    known.extend(algo::ALGORITHMS.iter().map(|entry| (entry.section)()));
    known.extend(adapt::ADAPTATIONS.iter().filter_map(|entry| entry.section).map(|make| make()));
    known
}

#[test]
fn every_preset_resolves_and_its_file_reads_back() {
    for preset in PRESETS {
        let config = resolve(known(), Some(preset.name), None, &[]).unwrap_or_else(|error| panic!("{error}"));
        let run: RunConfig = config.section();
        assert!(algo::find(&run.algo).is_some(), "{}: algo {}", preset.name, run.algo);
        assert!(adapt::find(&run.adapt).is_some(), "{}: adapt {}", preset.name, run.adapt);
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
            for table in [help_text(section.as_ref()), help_markdown(section.as_ref())] {
                assert!(table.contains(field.about), "{}.{}", section.name(), field.key);
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
