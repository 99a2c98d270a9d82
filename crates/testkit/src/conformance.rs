//! The macros that make tests of behaviours.

/// Makes one `#[test]` for each behaviour, in one module for each theme, of a [`Fixture`](crate::Fixture).
///
/// The modules are made where the macro is called; call it twice in modules of your own.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty) => {
        $crate::__for_each_behaviour! { __tests [$fixture] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ($fixture:tt $($theme:ident { $($behaviour:ident)* })*) => {
        $($crate::__theme! { $fixture $theme { $($behaviour)* } })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __theme {
    ([$fixture:ty] $theme:ident { $($behaviour:ident)* }) => {
        mod $theme {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $behaviour() {
                    $crate::run($crate::suite::$theme::$behaviour::<$fixture>());
                }
            )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __names {
    ([] $($theme:ident { $($behaviour:ident)* })*) => {
        &[$((stringify!($theme), &[$(stringify!($behaviour)),*])),*]
    };
}

/// The behaviours by theme.
pub const BEHAVIOURS: &[(&str, &[&str])] = crate::__for_each_behaviour! { __names [] };

#[cfg(test)]
mod tests {
    use super::*;

    /// What a theme's file defines.
    fn defined(theme: &str) -> Vec<String> {
        let file = format!("{}/src/suite/{theme}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let behaviours = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        behaviours.map(|line| line.split(['<', '(']).next().unwrap_or(line).to_owned()).collect()
    }

    #[test]
    fn every_behaviour_of_every_theme_is_in_the_list() {
        for (theme, listed) in BEHAVIOURS {
            assert_eq!(defined(theme), *listed, "the list of {theme}, in the order of its file");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/suite")).unwrap().count();
        assert_eq!(files, BEHAVIOURS.len() + 1, "a theme each, and support.rs");
    }
}
