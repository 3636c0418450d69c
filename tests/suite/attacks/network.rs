//! Section 4.3, as far as it exists: there is no network.

use super::host::Host;

/// A component of WASI 0.2 that creates a socket, and ends with 0 only where that worked.
fn socket(kind: &str) -> String {
    format!(
        "(component
          (import \"wasi:sockets/network@0.2.0\" (instance $network
            (type $code (enum \"unknown\" \"access-denied\" \"not-supported\" \"invalid-argument\"
              \"out-of-memory\" \"timeout\" \"concurrency-conflict\" \"not-in-progress\"
              \"would-block\" \"invalid-state\" \"new-socket-limit\" \"address-not-bindable\"
              \"address-in-use\" \"remote-unreachable\" \"connection-refused\" \"connection-reset\"
              \"connection-aborted\" \"datagram-too-large\" \"name-unresolvable\"
              \"temporary-resolver-failure\" \"permanent-resolver-failure\"))
            (export \"error-code\" (type (eq $code)))
            (type $family (enum \"ipv4\" \"ipv6\"))
            (export \"ip-address-family\" (type (eq $family)))))
          (alias export $network \"error-code\" (type $code))
          (alias export $network \"ip-address-family\" (type $family))
          (import \"wasi:sockets/{kind}@0.2.0\" (instance $sockets
            (export \"{kind}-socket\" (type (sub resource)))))
          (alias export $sockets \"{kind}-socket\" (type $socket))
          (import \"wasi:sockets/{kind}-create-socket@0.2.0\" (instance $create
            (alias outer 1 $code (type $code1)) (export \"error-code\" (type $code2 (eq $code1)))
            (alias outer 1 $family (type $family1))
            (export \"ip-address-family\" (type $family2 (eq $family1)))
            (alias outer 1 $socket (type $socket1))
            (export \"{kind}-socket\" (type $socket2 (eq $socket1)))
            (export \"create-{kind}-socket\" (func (param \"address-family\" $family2)
              (result (result (own $socket2) (error $code2)))))))
          (core module $libc (memory (export \"memory\") 1))
          (core instance $libc (instantiate $libc))
          (core func $create
            (canon lower (func $create \"create-{kind}-socket\") (memory (core memory $libc \"memory\"))))
          (core module $m
            (import \"libc\" \"memory\" (memory 1))
            (import \"\" \"create\" (func $create (param i32 i32)))
            (func (export \"run\") (result i32)
              (call $create (i32.const 0) (i32.const 16))
              ;; Denied is the second of the codes.
              (if (i32.and (i32.load8_u (i32.const 16)) (i32.ne (i32.load8_u (i32.const 20)) (i32.const 1)))
                (then unreachable))
              (i32.load8_u (i32.const 16))))
          (core instance $i (instantiate $m (with \"libc\" (instance $libc))
            (with \"\" (instance (export \"create\" (func $create))))))
          (func $run (result (result)) (canon lift (core func $i \"run\")))
          (instance $command (export \"run\" (func $run)))
          (export \"wasi:cli/run@0.2.0\" (instance $command)))"
    )
}

#[test]
fn without_a_grant_no_socket_is_made() {
    for kind in ["udp", "tcp"] {
        let host = Host::new();
        host.attack_wat([] as [&str; 0], socket(kind), |run| run).expect_code(1);
    }
}

#[test]
fn a_module_has_no_sockets() {
    let wat = "(module
      (import \"wasi_snapshot_preview1\" \"sock_accept\" (func $accept (param i32 i32 i32) (result i32)))
      (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
      (memory (export \"memory\") 1)
      (func (export \"_start\")
        (call $exit (call $accept (i32.const 0) (i32.const 0) (i32.const 8)))))";
    // ENOTSOCK.
    Host::new().attack_wat([] as [&str; 0], wat, |run| run).expect_code(57);
}
