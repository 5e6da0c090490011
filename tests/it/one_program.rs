//! An application may be one program whose first argument is the name of the process. Here it is a script that
//! leads to the programs of the platform.

use dev_stack::demo::doors;
use harness::{Machine, binaries};
use hyper::{Method, StatusCode};
use local_stack::{
    Addresses, Narrator, PLATFORM, Programs, Refusal, Replicas, StackOptions, Step, Story,
    with_stack,
};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A program that is all processes.
async fn one_program(folder: &Path) -> anyhow::Result<Programs> {
    let programs = binaries().await?;
    let path = |name: &str| programs.command(name).as_std().get_program().to_owned();
    let mut script = "#!/bin/sh\nname=$1\nshift\ncase $name in\n".to_owned();
    for entry in PLATFORM.iter() {
        let program = path(&entry.name);
        script.push_str(&format!("{}) exec {} \"$@\" ;;\n", entry.name, program.display()));
    }
    let dev = path(&PLATFORM.dev().name);
    script.push_str(&format!("broker) exec {} broker \"$@\" ;;\nesac\nexit 64\n", dev.display()));
    let one = folder.join("shop");
    std::fs::write(&one, script)?;
    std::fs::set_permissions(&one, std::fs::Permissions::from_mode(0o755))?;
    Ok(Programs::one(&PLATFORM, one))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_runs_through_a_stack_that_is_one_program() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = one_program(folder.path()).await?;
    let _machine = Machine::shared().await;
    let addresses = Addresses::free(&PLATFORM, &Replicas::default())?;
    let options = StackOptions::new(folder.path(), addresses, false)?;
    let options = StackOptions { keyspace: "another".to_owned(), ..options };
    let report = with_stack(&programs, options, async |stack| {
        let mut story = Story::open(&doors(stack), Narrator { speaks: false }).await?;
        let registered = story
            .step(Step {
                told: "Ada registers",
                command: "RegisterCustomer",
                method: Method::POST,
                path: "/v1/customers".to_owned(),
                body: json!({"name": "Ada Lovelace", "email": "ada@example.org"}),
                read_model: "/v1/customers",
                shown: "email",
            })
            .await?;
        let again = Refusal {
            told: "nobody has suspended her",
            method: Method::POST,
            path: format!("/v1/customers/{}/reactivate", registered.aggregate_id),
            body: json!({}),
            if_match: None,
            status: StatusCode::CONFLICT,
            code: "customer_not_suspended",
        };
        story.refusal(again).await?;
        stack.verify().await?;
        Ok(story.finish())
    })
    .await?;
    let report = report.expect("nobody sent a signal");
    assert_eq!((report.ok, report.totals.commands, report.topic_events), (true, 1, 1));
    Ok(())
}
