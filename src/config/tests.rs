//! Every sentence a user can be shown, and the round trips.

use super::*;

crate::choices! {
    /// For the tests.
    Order {
        Official = "official", "one";
        Corl = "corl", "other";
    }
}

crate::config! {
    Toy "iql", "For the tests" {
        hyper expectile: Schedule    = 0.7,             0.5..1.0,   "tau";
        hyper k_q:       AutoOr<f64> = AutoOr::Auto,    above(0.0), "scale of the distance";
        shape hidden:    NetSpec     = [256, 256],      1..=4096,   "hidden layers";
        shape order:     Order       = Order::Official, ..,         "order of the losses";
        opt   actor:     AdamConfig  = Schedule::Cosine { from: 3e-4, to: 0.0, steps: Schedule::AUTO }, 0.0.., "policy optimiser";
        run   title:     String      = "a \"b\" \\ c",  ..,         "any text";
    }
}

crate::config! {
    Other "baq", "Not always used" {
        hyper alpha: f64 = 0.6, 0.0.., "exponent";
    }
}

fn known() -> Vec<Box<dyn AnySection>> {
    vec![
        section::<RunConfig>(),
        section::<DataConfig>(),
        section::<OfflineConfig>(),
        section::<OnlineConfig>(),
        section::<Toy>(),
        section::<Other>(),
    ]
}

fn with(sets: &[&str]) -> Result<Config, String> {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    resolve(known(), None, None, &sets).map_err(|e| e.to_string())
}

#[test]
fn defaults_are_in_range_and_described() {
    for mut section in known() {
        for field in section.fields() {
            section.set(field.key, &field.default).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(section.get(field.key), Some(field.default.clone()));
            assert!(field.about.len() > 2 && !field.about.ends_with('.'), "{}", field.key);
        }
    }
}

#[test]
fn set_understands_every_type() {
    let config = with(&[
        "iql.expectile=linear(0.5, 0.9, 1000)",
        "iql.k_q=0.25",
        "iql.hidden=[64]",
        "iql.order=corl",
        "iql.actor={ lr = 1e-3, beta2 = 0.99 }",
        "iql.title=2024",
        "online.capacity=2e6",
        "online.buffer=mix(0.5)",
        "data.clip_actions=true",
        "run.seed=18446744073709551615",
        "run.dataset=/data/hopper medium.hdf5",
    ])
    .unwrap();
    let toy: Toy = config.section();
    assert_eq!(toy.expectile.at(500), 0.7);
    assert_eq!(toy.k_q, AutoOr::Value(0.25));
    assert_eq!(toy.hidden.hidden, [64]);
    assert_eq!(toy.order, Order::Corl);
    assert_eq!(toy.actor.lr, Schedule::Constant(1e-3));
    assert_eq!((toy.actor.beta1, toy.actor.beta2, toy.actor.eps), (0.9, 0.99, 1e-8));
    assert_eq!(toy.title, "2024");
    let online: OnlineConfig = config.section();
    assert_eq!((online.capacity, online.buffer), (2_000_000, BufferMode::Mix(0.5)));
    assert!(config.section::<DataConfig>().clip_actions);
    let run: RunConfig = config.section();
    assert_eq!((run.seed, run.dataset.as_str()), (u64::MAX, "/data/hopper medium.hdf5"));
}

#[test]
fn the_resolved_file_reads_back_identically() {
    let config = with(&[
        "iql.expectile=cosine(0.9, 0.7, 1000)",
        "iql.actor={ lr = \"linear(1e-3, 1e-9, 77)\", eps = 1e-5 }",
        "iql.k_q=0.1",
        "iql.title=line\u{2028} \"quoted\" # not a comment",
        "online.buffer=mix(0.1)",
        "run.seed=18446744073709551615",
        "offline.batch=17",
    ])
    .unwrap();
    let text = config.to_toml();
    let mut back = Config::new(known());
    assert!(back != config);
    back.apply_text("config.toml", &text).unwrap();
    assert_eq!(back, config);
    assert_eq!(back.to_toml(), text);
    assert_eq!(back.hash(&[]), config.hash(&[]));
    // A comment with meaning, range and default stands above each key.
    assert!(text.contains("# tau (a number or a schedule in [0.5, 1); default 0.7)\nexpectile = "));
}

#[test]
fn the_hash_can_leave_the_seed_out() {
    let (a, b) = (with(&["run.seed=1"]).unwrap(), with(&["run.seed=2"]).unwrap());
    assert_ne!(a.hash(&[]), b.hash(&[]));
    assert_eq!(a.hash(&["run.seed"]), b.hash(&["run.seed"]));
    assert_eq!(a.hash(&[]).len(), 12);
}

#[test]
fn errors_are_one_sentence_with_place_range_got_and_default() {
    for (set, sentence) in [
        (
            "iql.expectile=1.5",
            "iql.expectile: expected a number or a schedule in [0.5, 1), got 1.5 (default 0.7)",
        ),
        (
            "iql.expectile=linear(0.5, 1.5, 9)",
            "iql.expectile: expected a number or a schedule in [0.5, 1), got \"linear(0.5, 1.5, 9)\" (default 0.7)",
        ),
        ("iql.k_q=0", "iql.k_q: expected auto or a number in (0, inf), got 0 (default \"auto\")"),
        (
            "iql.hidden=[0]",
            "iql.hidden: expected a list of at most 16 whole numbers, or words as \"256x256 layer_norm relu\" or \"512x512 simba\" (equal widths), in [1, 4096], got [0] (default [256, 256])",
        ),
        (
            "iql.hidden=abc",
            "iql.hidden: expected a list of at most 16 whole numbers, or words as \"256x256 layer_norm relu\" or \"512x512 simba\" (equal widths), in [1, 4096], got \"abc\" (default [256, 256])",
        ),
        (
            "iql.order=ofical",
            "iql.order: expected one of official, corl, got \"ofical\" (default \"official\"); did you mean `official`?",
        ),
        (
            "iql.expectil=0.7",
            "iql.expectil: no such option; did you mean `iql.expectile`?; `baq options iql` lists them",
        ),
        (
            "iqk.expectile=0.7",
            "[iqk]: no such section; did you mean `iql`?; known: run, data, offline, online, iql, baq",
        ),
        (
            "online.buffer=mix(2)",
            "online.buffer: expected one of append, mix(share in [0, 1]), proportional, concat(share in [0.01, 1]), got \"mix(2)\" (default \"append\")",
        ),
        ("offline.batch=-3", "offline.batch: expected a whole number in [1, 1e6], got -3 (default 256)"),
        ("offline.batch=1.5", "offline.batch: expected a whole number in [1, 1e6], got 1.5 (default 256)"),
        ("data.action_clip=nan", "data.action_clip: expected a number in [0, 0.5), got NaN (default 1e-5)"),
        ("expectile=1", "--set expectile=1: expected section.key=value"),
        ("iql.expectile", "--set iql.expectile: expected section.key=value"),
    ] {
        let got = with(&[set]).map(|_| ()).unwrap_err();
        assert_eq!(got, sentence);
        assert!(!got.contains('\n'));
    }
}

#[test]
fn a_setting_that_would_be_ignored_is_refused() {
    let config = with(&["baq.alpha=1"]).unwrap();
    assert_eq!(
        config.restrict(&["run", "iql"]).map(|_| ()).unwrap_err().to_string(),
        "--set baq.alpha: section [baq] is not used by this run (it uses run, iql); leave it out, or choose the method it belongs to"
    );
    let config = with(&["iql.k_q=1"]).unwrap().restrict(&["run", "iql"]).unwrap();
    assert_eq!(config.sections().map(|s| s.name()).collect::<Vec<_>>(), ["run", "iql"]);
    assert!(!config.has::<Other>() && config.has::<Toy>());
}

#[test]
fn files_inherit_presets_and_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let read = |text: &str, preset: Option<&str>| {
        std::fs::write(&path, text).unwrap();
        // The toy section does not declare all of IQL's keys, so inherit nothing here.
        resolve(known(), preset, Some(&path), &["run.seed=5".to_string()])
            .map_err(|e| e.to_string().replace(&path.display().to_string(), "mine.toml"))
    };
    let config = read("[iql]\nexpectile = 0.8\n[run]\nseed = 4\n", None).unwrap();
    assert_eq!(config.section::<Toy>().expectile, Schedule::Constant(0.8));
    assert_eq!(config.section::<RunConfig>().seed, 5);
    let error = |text| read(text, None).map(|_| ()).unwrap_err();
    assert_eq!(
        error("[iql]\nexpectile = 3\n"),
        "mine.toml: iql.expectile: expected a number or a schedule in [0.5, 1), got 3 (default 0.7)"
    );
    assert_eq!(error("iql = 3\n"), "mine.toml: iql: expected a section, `[iql]` on its own line");
    assert!(error("[iql]\nexpectile = = 3\n").starts_with("mine.toml: line 2: not TOML: "));
    assert!(
        error("inherit = \"iqll\"\n")
            .starts_with("mine.toml: preset `iqll`: no such preset; did you mean `iql`?; known: iql, ")
    );
    assert_eq!(
        read("inherit = \"bc\"\n", Some("iql_corl")).map(|_| ()).unwrap_err(),
        "mine.toml: it inherits \"bc\" and --preset iql_corl was given too; keep one of them"
    );
    let missing = resolve(known(), None, Some(&folder.path().join("no.toml")), &[]);
    assert!(missing.unwrap_err().to_string().contains("cannot read the configuration"));
}

/// Presets are TOML, inherit what exists, and set only valid values in the sections of this
/// room. `tests/presets.rs` holds them against the algorithms' sections too.
#[test]
fn presets_are_valid() {
    let mut names: Vec<&str> = PRESETS.iter().map(|p| p.name).collect();
    for preset in PRESETS {
        let table: toml::Table = preset.text.parse().expect(preset.name);
        let mut config = Config::new(known());
        for (name, value) in &table {
            if name == "inherit" {
                let parent = value.as_str().unwrap();
                assert!(presets::find(parent).is_ok() && parent != preset.name);
            } else if ["run", "data", "offline", "online"].contains(&name.as_str()) {
                let text = toml::to_string(&toml::Table::from_iter([(name.clone(), value.clone())]));
                config.apply_text(preset.name, &text.unwrap()).unwrap();
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PRESETS.len());
}

#[test]
fn help_names_everything() {
    let section = section::<Toy>();
    let text = help_text(section.as_ref());
    for field in section.fields() {
        assert!(text.contains(field.key) && text.contains(field.about));
    }
    assert!(text.contains("[0.5, 1)") && text.contains("corl"));
    assert!(!text.lines().any(|l| l.ends_with(' ')), "{text}");
}
