//! The way back in for an admin who is locked out.

use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use crate::harness::{Up, command, finish, run};

#[test]
fn a_new_password_is_given_whether_the_controller_runs_or_not() {
    let mut up = Up::controller();
    let lets_in = |up: &Up, password: &str| {
        let login = json!({"name": "admin", "password": password});
        assert!(up.post("login", &login.to_string()).contains("\"admin\""));
    };
    let asked = up.ask(["controller", "password", "--json"]).json();
    assert_eq!(
        (&asked["name"], &asked["level"]),
        (&json!("admin"), &json!("admin"))
    );
    lets_in(&up, asked["password"].as_str().expect("a password"));
    up.ask(["controller", "password", "--account", "nobody"])
        .fails(2, &["'nobody'"]);

    assert!(up.running.terminate().success());
    up.ask(["controller", "password", "--account", "nobody"])
        .fails(2, &["'nobody'"]);
    let told = up.ask(["controller", "password"]).ok();
    up.restart();
    let password = told.split_whitespace().nth(5).expect("a password");
    lets_in(&up, password);
    assert!(!up.running.stdout().contains(password), "it is shown once");
}

#[test]
fn what_is_no_controllers_data_is_said_and_left_as_it_is() {
    let dir = tempdir().unwrap();
    let ask = |data: &Path| {
        let mut command = command(["controller", "password", "--data"]);
        command.arg(data);
        finish(command)
    };
    ask(&dir.path().join("nowhere")).fails(2, &["nowhere"]);
    ask(dir.path()).fails(
        2,
        &[dir.path().to_str().unwrap(), "a controller's data directory?"],
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is made"
    );
    run(["controller", "password", "--account"]).fails(2, &["--account"]);
}
