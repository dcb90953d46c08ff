//! Studies that come with the program: the tables and figures of arXiv 2511.03695, and questions beyond them. A name of
//! theirs is taken wherever the file of a study is.

/// Name and text of each.
pub const STUDIES: [(&str, &str); 8] = [
    ("paper-table1", include_str!("paper/paper-table1.toml")),
    ("paper-table2", include_str!("paper/paper-table2.toml")),
    ("paper-fig1", include_str!("paper/paper-fig1.toml")),
    ("paper-fig2", include_str!("paper/paper-fig2.toml")),
    ("paper-fig3", include_str!("paper/paper-fig3.toml")),
    ("baq-constants", include_str!("paper/baq-constants.toml")),
    ("baq-matched", include_str!("paper/baq-matched.toml")),
    ("second-ring", include_str!("paper/second-ring.toml")),
];

/// The text of one.
pub fn find(name: &str) -> Option<&'static str> {
    STUDIES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::super::published::published;
    use super::*;

    #[test]
    fn every_study_is_read_and_compares_something() {
        for (name, text) in STUDIES {
            for scale in [None, Some("laptop")] {
                let spec = Spec::parse(name, text, scale).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(spec.name, name);
                let compared = spec.methods.iter().filter(|m| spec.base_of(m).is_some()).count();
                assert!(compared > 0 || name == "paper-fig1", "{name} {scale:?}");
            }
        }
        assert!(find("paper-table3").is_none() && find("baq-matched").is_some());
    }

    #[test]
    fn what_the_paper_reports_is_found_for_every_cell_of_its_tables() {
        let spec = Spec::parse("", find("paper-table1").unwrap(), None).unwrap();
        let numbers = published("paper-table1").unwrap();
        for data in &spec.data {
            for method in &spec.methods {
                assert!(numbers.cell(data, &method.label).is_some(), "{} on {data}", method.label);
            }
        }
        assert!(numbers.covers(&spec.data));
    }
}
