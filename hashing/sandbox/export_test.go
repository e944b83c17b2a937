package sandbox

import "time"

const Detector = detector

// SetWasmIdle shortens the time after which a child for WebAssembly ends.
func SetWasmIdle(o *Options, d time.Duration) { o.wasmIdle = d }
