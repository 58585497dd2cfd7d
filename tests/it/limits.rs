//! What a machine allows, and no more: threads, file sizes, open files, memory, standard streams that aren't there. Each
//! program does its work or fails with one line, and leaves nothing behind.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kit::image::random::Random;
use kit::pipeline::Script;
use kit::{Codec, Fault, Image, Layer, Named, Output, Producer, Registry, Sandbox};
use rustix::process::Signal;

use crate::fixtures::{assert_one_line, files, lacks_root, names};

/// Users that nothing else runs as: the kernel counts threads by user.
const USERS: std::ops::RangeInclusive<u32> = 46_001..=46_008;

const NAME: &str = "docker.io/library/app:1";

/// Of two megabytes that don't compress, in many files.
fn noise_layer() -> Layer {
    (0..20).fold(Layer::new(), |layer, n| {
        layer.file(format!("dir{n}/noise"), Random::new(n).bytes(100_000))
    })
}

fn noise_image() -> Image {
    Image::new().codec(Codec::None).layer(noise_layer())
}

/// A place where each program has something to do.
struct Place {
    sandbox: Sandbox,
    registry: Registry,
}

impl Place {
    fn new() -> Self {
        let (sandbox, registry) = (Sandbox::new(), Registry::start());
        let image = noise_image();
        registry.add("app:1", &image);
        sandbox.load(&[Named::new(NAME, &image)]);
        sandbox.write("image.tar", Producer::Strata.write(&[Named::new(NAME, &image)]));
        let other = image.layer(Layer::new().file("more", Random::new(99).bytes(2_000_000)));
        sandbox.write("other.tar", Producer::Strata.write(&[Named::new("other:1", &other)]));
        sandbox.write("layer.tar", noise_layer().tar());
        for n in 0..20 {
            sandbox.write(&format!("tree/dir{n}/noise"), Random::new(n).bytes(100_000));
        }
        Self { sandbox, registry }
    }

    /// What to run, each by itself. Standard input is the image, standard output a file in `out`.
    fn scripts(&self) -> Vec<String> {
        let remote = self.registry.name("app:1");
        [
            "pull -q --no-store REMOTE",
            "pull -q --no-stream REMOTE",
            "push -q app:1 HOST/pushed:1",
            "unpack -q --from app:1 out/unpacked",
            "unpack -q out/unpacked",
            "commit -q --base scratch -t gzip:1 layer.tar",
            "commit -q --base scratch -t zstd:1 --compress zstd layer.tar",
            "snapshot -q --base scratch tree",
            "load -q other.tar",
            "save -q app:1",
            "save -q -o out/saved.tar app:1",
            "flatten -q app:1",
            "flatten -q --as-image flat:1 app:1",
            "inspect -q --files app:1",
            "changes -q app:1 ./tree",
            "images verify -q",
        ]
        .map(|script| script.replace("REMOTE", &remote).replace("HOST", &self.registry.host()))
        .to_vec()
    }

    /// Runs a program under what the shell sets.
    fn limited(&self, limit: &str, script: &str, user: Option<u32>) -> Output {
        let out = self.sandbox.path("out");
        std::fs::remove_dir_all(&out).ok();
        std::fs::create_dir(&out).unwrap();
        std::fs::set_permissions(&out, Permissions::from_mode(0o777)).unwrap();
        self.again(limit, script, user)
    }

    /// The same once more, where the last run may have left something.
    fn again(&self, limit: &str, script: &str, user: Option<u32>) -> Output {
        let lines = format!("exec < image.tar > out/stdout\n{limit}\nexec {script}");
        let script = Script::new(&self.sandbox, &lines);
        user.into_iter().fold(script, Script::user).run()
    }

    /// That nothing is there which only a program under way may have: `before` is what was there.
    #[track_caller]
    fn assert_clean(&self, before: &[String], output: &Output) {
        let (store, text) = (self.sandbox.store(), output.text());
        assert_eq!(names(self.sandbox.path("")), before, "{text}");
        assert!(files(store.join("strata/temp")).is_empty(), "{text}");
        assert_eq!(names(self.sandbox.root().join("tmp")), [""; 0], "{text}");
        let hidden = names(self.sandbox.path("out")).into_iter().find(|it| it.starts_with('.'));
        assert_eq!(hidden, None, "{text}");
    }
}

/// Checks that a program did its work or failed with one line that names this reason.
#[track_caller]
fn assert_done_or_told(script: &str, output: &Output, reasons: &[&str]) -> bool {
    let text = output.text();
    assert!(!output.stderr.contains("panicked"), "{script}: {text}");
    if output.code() == 0 {
        return true;
    }
    let program = script.split(' ').next().unwrap();
    // `changes` has 1 for an answer.
    let is_answer = program == "changes" && output.code() == 1 && output.stderr.is_empty();
    if !is_answer {
        let code = match program {
            "changes" => 2,
            // A connection that can't be made now may be made later.
            "pull" | "push" if output.stderr.contains(": connecting to ") => 5,
            _ => 1,
        };
        assert_one_line(output.fails_with(code), program);
        let stderr = output.stderr.to_lowercase();
        assert!(reasons.iter().any(|reason| stderr.contains(reason)), "{script}: {text}");
    }
    is_answer
}

/// The most tasks that a program may have at once; a thread is one.
struct TaskLimit {
    most: u32,
    /// Sets it in the shell.
    script: String,
    user: Option<u32>,
    /// Kept as long as the limit holds.
    _cgroup: Option<Cgroup>,
}

/// Checks that under each limit every program does its work or says that it can't, and that all do with 8 tasks.
#[track_caller]
fn check_few_tasks(limits: impl IntoIterator<Item = TaskLimit>) {
    let place = Place::new();
    std::fs::create_dir(place.sandbox.path("out")).unwrap();
    let before = names(place.sandbox.path(""));
    let reasons = ["resource temporarily unavailable", "allocation error : not enough memory"];
    let mut n_failed = 0;
    for limit in limits {
        for script in place.scripts() {
            let output = place.limited(&limit.script, &script, limit.user);
            let is_done = assert_done_or_told(&script, &output, &reasons);
            n_failed += u32::from(!is_done);
            assert!(is_done || limit.most < 8, "{script}: {}", output.text());
            place.assert_clean(&before, &output);
        }
    }
    assert!(n_failed > 5, "the limit is no limit");
}

#[test]
fn as_root_who_may_start_few_threads_does_with_them_or_says_so() {
    if lacks_root() {
        return;
    }
    // The count includes the program's first thread.
    check_few_tasks([1, 2, 3, 4, 5, 8].map(|most| TaskLimit {
        most,
        script: format!("ulimit -u {most}"),
        user: Some(USERS.start() + most % 8),
        _cgroup: None,
    }));
}

/// A control group for tasks of ours alone; gone with the test.
struct Cgroup(PathBuf);

impl Cgroup {
    /// One that may have so many tasks; nothing where the machine lets none be made.
    fn of_tasks(most: u32) -> Option<Self> {
        let name = format!("strata-{}-{most}", std::process::id());
        let places = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        places.into_iter().find_map(|place| {
            let place = Path::new(place);
            // In the second version the controller is turned on above; in the first there is no such file.
            std::fs::write(place.join("cgroup.subtree_control"), "+pids").ok();
            let group = Self(place.join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join("pids.max"), most.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).ok();
    }
}

#[test]
fn as_root_in_a_cgroup_of_few_tasks_every_program_works_or_says_so() {
    if lacks_root() {
        return;
    }
    if Cgroup::of_tasks(2).is_none() {
        eprintln!("no control group of tasks can be made here");
        return;
    }
    check_few_tasks((2..=8).map(|most| {
        let cgroup = Cgroup::of_tasks(most).unwrap();
        let script = format!("echo $$ > {}/cgroup.procs", cgroup.0.display());
        TaskLimit { most, script, user: None, _cgroup: Some(cgroup) }
    }));
}

#[test]
fn a_file_that_may_not_grow_on_is_an_error_and_no_death() {
    let place = Place::new();
    std::fs::create_dir(place.sandbox.path("out")).unwrap();
    let before = names(place.sandbox.path(""));
    let mut n_failed = 0;
    for script in place.scripts() {
        // In units of 1,024 bytes; a file of the layer has 100,000.
        for size in [0, 64, 1_024] {
            let output = place.limited(&format!("ulimit -f {size}"), &script, None);
            // What is only a cache is left out without a word.
            let is_done = assert_done_or_told(&script, &output, &["file too large"]);
            n_failed += u32::from(!is_done);
            place.assert_clean(&before, &output);
        }
    }
    assert!(n_failed > 20, "only {n_failed} failed");
}

#[test]
fn who_may_open_few_files_does_with_them_or_says_so() {
    let place = Place::new();
    std::fs::create_dir(place.sandbox.path("out")).unwrap();
    let before = names(place.sandbox.path(""));
    let mut n_failed = 0;
    for script in place.scripts() {
        // The loader needs four; with 14 signals are handled.
        for n_files in [4, 14, 15, 16, 17, 18, 20, 22] {
            let output = place.limited(&format!("ulimit -n {n_files}"), &script, None);
            let is_done = assert_done_or_told(&script, &output, &["too many open files"]);
            n_failed += u32::from(!is_done);
            // To remove a tree takes open files too, so that may be left to the next run.
            place.again("", &script, None);
            place.assert_clean(&before, &output);
        }
    }
    assert!(n_failed > 5, "only {n_failed} failed");
}

// Blobs wait for their names with an open file each, and only so many do.
#[test]
fn an_image_of_hundreds_of_layers_is_loaded_with_few_open_files() {
    let layer = |n: u32| Layer::new().file(format!("f{n}"), n.to_string());
    let image = (0..250).fold(Image::new(), |image, n| image.layer(layer(n)));
    let sandbox = Sandbox::new();
    sandbox.write("image.tar", Producer::DockerContainerd.write(&[Named::new(NAME, &image)]));
    Script::new(&sandbox, "ulimit -n 232; load -q < image.tar").run().success();
    sandbox.command("images").args(["verify", "-q"]).run().success();
}

#[test]
fn a_quarter_of_a_gigabyte_of_address_space_is_enough() {
    let place = Place::new();
    for script in place.scripts() {
        let output = place.limited("ulimit -v 262144", &script, None);
        assert!(output.code() == 0 || script.starts_with("changes"), "{script}: {}", output.text());
    }
}

/// Where the allocator has to give up it says so, and that is all.
#[test]
fn with_too_little_address_space_no_program_panics() {
    let place = Place::new();
    std::fs::create_dir(place.sandbox.path("out")).unwrap();
    let before = names(place.sandbox.path(""));
    let mut n_failed = 0;
    for script in place.scripts() {
        for size in [16_000, 20_000, 28_000, 36_000] {
            let output = place.limited(&format!("ulimit -v {size}"), &script, None);
            n_failed += u32::from(output.code() != 0);
            let text = output.text();
            for word in ["panicked", "stack backtrace:"] {
                assert!(!output.stderr.contains(word), "{script}: {size}: {text}");
            }
            assert!(output.stderr.lines().count() <= 4, "{script}: {size}: {text}");
            place.again("", &script, None);
            place.assert_clean(&before, &output);
        }
    }
    assert!(n_failed > 5, "only {n_failed} failed");
}

#[test]
fn a_standard_input_that_is_closed_is_not_empty() {
    let place = Place::new();
    let scripts = [
        "unpack -q out/unpacked",
        "load -q",
        "commit -q --base scratch -t new:1",
        "flatten -q -",
        "inspect -",
        "changes - app:1",
        "push -q - localhost/x:1",
        "pull -q --creds-stdin localhost/x:1",
    ];
    for script in scripts {
        let output = place.limited("exec <&-", script, None);
        let program = script.split(' ').next().unwrap();
        assert_one_line(output.fails_with(if program == "changes" { 2 } else { 1 }), program);
        assert!(output.stderr.contains("bad file descriptor"), "{script}: {}", output.text());
    }
    // Who reads nothing needs none.
    place.limited("exec <&-", "inspect -q app:1", None).success();
}

#[test]
fn a_standard_output_that_is_closed_takes_no_data() {
    let place = Place::new();
    let scripts = [
        "commit -q --base scratch -t new:1 layer.tar",
        "snapshot -q --base scratch tree",
        "load -q image.tar",
        "save -q app:1",
        "flatten -q app:1",
        "images -q",
        "inspect app:1",
        "inspect --cat dir1/noise app:1",
        "changes -q ./tree app:1",
    ];
    for script in scripts {
        let output = place.limited("exec >&-", script, None);
        let program = script.split(' ').next().unwrap();
        assert_one_line(output.fails_with(if program == "changes" { 2 } else { 1 }), program);
        let expected = "writing standard output: bad file descriptor";
        assert!(output.stderr.contains(expected), "{script}: {}", output.text());
    }
}

#[test]
fn without_a_standard_error_everything_works() {
    let place = Place::new();
    for script in place.scripts() {
        let output = place.limited("exec 2>&-", &script, None);
        assert!(output.code() == 0 || script.starts_with("changes"), "{script}: {}", output.text());
    }
}

/// A program that may hold a login while it waits for a registry, and its memory.
#[test]
fn as_root_who_may_hold_a_login_dumps_no_core() {
    if lacks_root() {
        return;
    }
    let place = Place::new();
    place.registry.fault(Fault::on("/v2/").stall_after(0, None));
    let remote = place.registry.name("app:1");
    let user = *USERS.end();
    for words in [vec!["pull", &remote], vec!["push", "app:1", &remote]] {
        let program = place.sandbox.command(words[0]).args(&words[1..]).user(user);
        let running = program.start();
        // What belongs to a process that can't be dumped is root's, whoever runs it (proc(5)).
        let proc = format!("/proc/{}/maps", running.pid());
        let end = Instant::now() + Duration::from_secs(20);
        while std::fs::metadata(&proc).unwrap().uid() != 0 {
            assert!(Instant::now() < end, "{words:?} can be dumped");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.signal(Signal::TERM);
        assert_eq!(running.wait().code(), 143);
    }
}
