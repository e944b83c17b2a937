// Command vigie is the whole of Vigie in one binary: the node (vigie serve) and the tools around it.
//
// One file per command. This package is the only place that reads flags and environment, and the
// only one that wires the rooms together (node.go). Every command that needs a node talks to it over
// the HTTP contract, wherever it runs (client.go): at a URL, behind the socket in a data folder, or,
// when nobody owns the folder, started within the command for as long as it lasts.
//
// # Exit codes
//
//	0  done
//	1  some inputs failed, or the node could not do what was asked
//	2  wrong use: a flag, an argument or a setting that does not fit
package main
