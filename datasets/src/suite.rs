//! The recipes of the suite and the policies that they name, inside the program; `data/suite/README.md` says what they
//! are. A recipe without policies has not been trained yet.

/// (name, content) of every recipe and policy.
pub static FILES: &[(&str, &[u8])] = &[
    ("halfcheetah-expert.safetensors", include_bytes!("../data/suite/halfcheetah-expert.safetensors")),
    ("halfcheetah-medium.safetensors", include_bytes!("../data/suite/halfcheetah-medium.safetensors")),
    ("halfcheetah.toml", include_bytes!("../data/suite/halfcheetah.toml")),
    ("hopper-expert.safetensors", include_bytes!("../data/suite/hopper-expert.safetensors")),
    ("hopper-medium.safetensors", include_bytes!("../data/suite/hopper-medium.safetensors")),
    ("hopper.toml", include_bytes!("../data/suite/hopper.toml")),
    ("walker2d-expert.safetensors", include_bytes!("../data/suite/walker2d-expert.safetensors")),
    ("walker2d-medium.safetensors", include_bytes!("../data/suite/walker2d-medium.safetensors")),
    ("walker2d.toml", include_bytes!("../data/suite/walker2d.toml")),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_recipe_and_policy_is_inside() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/suite");
        let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| name.ends_with(".toml") || name.ends_with(".safetensors"));
        names.sort();
        let inside: Vec<&str> = super::FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(inside, names, "add the missing ones to FILES, in order");
    }
}
