//! What only a process shows.

use kit::Sandbox;

#[test]
fn help_ends_with_examples() {
    let output = Sandbox::new().command("snapshot").arg("--help").run();
    assert!(output.success().out().contains("Examples:\n"), "{}", output.out());
}
