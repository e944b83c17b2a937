// Package datatest finds the test data: pictures and videos with the hashes that the references give,
// described in a manifest.csv. They are not part of the source.
package datatest

import (
	"os"
	"path/filepath"
	"testing"
)

// Find returns the folder of the test data: VIGIE_TEST_DATA names it, or it lies at shared/data beside the
// checkout or above. It is empty if there is none.
func Find() string {
	if dir := os.Getenv("VIGIE_TEST_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		data := filepath.Join(dir, "shared", "data")
		if _, err := os.Stat(filepath.Join(data, "manifest.csv")); err == nil {
			return data
		}
	}
	return ""
}

// Folder is [Find] for a test that is skipped where there is none.
func Folder(t testing.TB) string {
	t.Helper()
	dir := Find()
	if dir == "" {
		t.Skip("no test data: set VIGIE_TEST_DATA to the folder that holds manifest.csv")
	}
	return dir
}
