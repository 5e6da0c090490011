
/// The defects that a process has, from its environment.
pub mod defects {
    use std::sync::LazyLock;

    static ON: LazyLock<Vec<String>> = LazyLock::new(|| {
        let names = std::env::var("TEST_DEFECT").unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).collect()
    });

    /// Whether the defect of this name is on.
    #[must_use]
    pub fn is_on(name: &str) -> bool {
        ON.iter().any(|on| on == name)
    }
}
