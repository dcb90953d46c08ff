//! Releases of MuJoCo.

/// A release of MuJoCo: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Decodes `mj_version()`: 337 is 3.3.7; from 3.5.0 on the number is 3005000.
    pub fn decode(raw: i32) -> Version {
        let n = raw.max(0) as u32;
        if n >= 1_000_000 {
            Version(n / 1_000_000, n / 1000 % 1000, n % 1000)
        } else {
            Version(n / 100, n / 10 % 10, n % 10)
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_of_the_version() {
        assert_eq!(Version::decode(337), Version(3, 3, 7));
        assert_eq!(Version::decode(3_005_000), Version(3, 5, 0));
        assert_eq!(Version::decode(4_000_001), Version(4, 0, 1));
        assert!(Version::decode(237) < Version(3, 0, 0));
        assert_eq!(Version(3, 17, 0).to_string(), "3.17.0");
    }
}
