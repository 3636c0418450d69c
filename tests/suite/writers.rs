//! Images that others make run unchanged: buildah's, and wasm as other tools push it.

use serde_json::Value;
use serde_json::json;

use crate::docker_registry::Manner;
use crate::docker_registry::Registry;
use crate::layouts::CONFIG;
use crate::layouts::MANIFEST;
use crate::layouts::WASM;
use crate::layouts::WASM_CONFIG;
use crate::support::Bench;
use crate::support::Tools;
use crate::support::root;

/// A program that prints the file that its argument names.
fn cat() -> Vec<u8> {
    wat::parse_file(root().join("examples/guests/cat.wat")).unwrap()
}

/// A program that prints a line and ends.
fn hello() -> Vec<u8> {
    wat::parse_file(root().join("examples/guests/hello.wat")).unwrap()
}

#[test]
fn what_buildah_makes_of_a_dockerfile_runs_however_it_comes() {
    let bench = Bench::new();
    let Some(tools) = Tools::new(&bench, &["buildah"]) else { return };
    let Some(registry) = Registry::start(&bench, &Manner::default()) else { return };
    let name = format!("{}/made/by-buildah:1", registry.address);
    bench.file("recipe/cat.wasm", cat());
    bench.file("recipe/data/note.txt", "a note of buildah's\n");
    bench.file(
        "recipe/Dockerfile",
        "FROM scratch\nCOPY cat.wasm /bin/cat.wasm\nCOPY data /data\nENV NAME=value\n\
         ENTRYPOINT [\"/bin/cat.wasm\"]\nCMD [\"data/note.txt\"]\n",
    );
    tools.run(&format!(
        "buildah='buildah --root {root}/storage --runroot {root}/run --storage-driver vfs'\n\
         $buildah bud -q -t made ./recipe > made\n\
         $buildah push -q --tls-verify=false made docker://{name}\n\
         $buildah push -q made oci-archive:oci.tar:of-archive:1\n\
         $buildah push -q made docker-archive:docker.tar:of-docker:1\n\
         $buildah push -q made oci:layout:of-layout:1",
        root = bench.path().join("buildah").display(),
    ));

    let runs = |name: &str| {
        let ran = bench.aril(["run", name]).outcome();
        ran.expect_code(0).expect_output("a note of buildah's\n");
    };
    runs(&name);
    // Without a registry, a tool says docker's own where the archive is docker's.
    for (from, name) in [
        ("oci.tar", "of-archive:1"),
        ("docker.tar", "docker.io/library/of-docker:1"),
        ("layout", "of-layout:1"),
    ] {
        let loaded = bench.aril(["load", "-i", from]).outcome().expect_code(0);
        assert!(loaded.stdout.contains(&format!(" {name}\n")), "{loaded:#?}");
        runs(name);
    }
}

/// What an image is made of, as a tool pushes it: the configuration, what else its manifest says,
/// and its layer.
struct Form {
    tool: &'static str,
    config: (&'static str, Value),
    more: Value,
    layer: (&'static str, Value),
}

#[test]
fn wasm_that_other_tools_pushed_runs_unchanged() {
    let bench = Bench::new();
    let Some(registry) = Registry::start(&bench, &Manner::default()) else { return };
    let title = json!({"org.opencontainers.image.title": "hello.wasm"});
    let digest = aril::Digest::of(&hello()).to_string();
    let forms = [
        Form {
            tool: "oras-1.2",
            config: ("application/vnd.oci.empty.v1+json", json!({})),
            more: json!({"artifactType": "application/vnd.example.program"}),
            layer: (WASM, title.clone()),
        },
        Form {
            tool: "oras-with-config",
            config: (WASM_CONFIG, json!({"architecture": "wasm", "os": "wasip1"})),
            more: json!({}),
            layer: (WASM, title.clone()),
        },
        Form {
            tool: "oras-0",
            config: ("application/vnd.unknown.config.v1+json", json!({})),
            more: json!({}),
            layer: (WASM, title.clone()),
        },
        Form {
            tool: "runwasi",
            config: (
                CONFIG,
                json!({
                    "architecture": "wasm", "os": "wasip1", "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [digest]},
                }),
            ),
            more: json!({}),
            layer: ("application/vnd.bytecodealliance.wasm.component.layer.v0+wasm", json!({})),
        },
        Form {
            tool: "wasm-to-oci",
            config: ("application/vnd.wasm.config.v1+json", json!({})),
            more: json!({}),
            layer: ("application/vnd.wasm.content.layer.v1+wasm", title),
        },
    ];
    for Form { tool, config, more, layer } in forms {
        let mut layer_entry = registry.put_blob(tool, layer.0, &hello());
        if layer.1 != json!({}) {
            layer_entry["annotations"] = layer.1;
        }
        let config = registry.put_blob(tool, config.0, config.1.to_string().as_bytes());
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer_entry],
        });
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        registry.put_manifest(tool, "1", MANIFEST, &manifest.to_string());

        let ran = bench.aril(["run", &format!("{}/{tool}:1", registry.address)]).outcome();
        assert_eq!(ran.code, Some(0), "{tool}: {ran:#?}");
        ran.expect_output("Hello from the sandbox.\n");
    }
}
