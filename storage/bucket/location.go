package bucket

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// location is what the URL of [Open] says.
type location struct {
	bucket, prefix string // the prefix without slashes around it
	host           string // of the endpoint, with its port if one is given
	secure         bool   // by https
	region         string
	lookup         minio.BucketLookupType
	encryption     encrypt.ServerSide  // nil leaves it to the bucket
	lock           minio.RetentionMode // "" if there is none
	lockFor        time.Duration
}

// parameters are those that a URL may have.
var parameters = map[string]func(at *location, value string) error{
	"endpoint": func(at *location, value string) error {
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
			strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("it is https://host:port, or http://host:port if nothing is to be encrypted on the way")
		}
		at.host, at.secure = u.Host, u.Scheme == "https"
		return nil
	},
	"region": func(at *location, value string) error {
		at.region = value
		return nil
	},
	"path-style": func(at *location, value string) error {
		switch value {
		case "true":
			at.lookup = minio.BucketLookupPath
		case "false":
			at.lookup = minio.BucketLookupDNS
		default:
			return errors.New("it is true or false")
		}
		return nil
	},
	"encryption": func(at *location, value string) (err error) {
		if value == "sse-s3" {
			at.encryption = encrypt.NewSSE()
			return nil
		}
		key, kms := strings.CutPrefix(value, "sse-kms:")
		if !kms || key == "" {
			return errors.New("it is sse-s3 or sse-kms:KEY")
		}
		at.encryption, err = encrypt.NewSSEKMS(key, nil)
		return err
	},
	"lock": func(at *location, value string) error {
		mode, days, _ := strings.Cut(value, ":")
		at.lock = minio.RetentionMode(strings.ToUpper(mode))
		n, err := strconv.Atoi(strings.TrimSuffix(days, "d"))
		if !at.lock.IsValid() || strings.ToLower(mode) != mode || !strings.HasSuffix(days, "d") || err != nil || n < 1 || n > 36500 {
			return errors.New("it is governance:180d or compliance:180d, for 1 to 36500 days")
		}
		at.lockFor = time.Duration(n) * 24 * time.Hour
		return nil
	},
}

func parseLocation(address string) (at location, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" {
		return at, errors.New("the URL is s3://bucket/prefix?parameter=value")
	}
	if u.User != nil {
		return at, errors.New("keys do not belong into the URL, which others get to see: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	at = location{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), host: "s3.amazonaws.com", secure: true}
	if err := s3utils.CheckValidBucketNameStrict(at.bucket); err != nil {
		return at, fmt.Errorf("bucket %q: a name has 3 to 63 small letters, digits, dots and hyphens", at.bucket)
	}
	if at.prefix != "" && (path.Clean(at.prefix) != at.prefix || at.prefix == ".." || strings.HasPrefix(at.prefix, "../")) || u.Fragment != "" {
		return at, fmt.Errorf("prefix %q: it is a path without empty parts, dots or #", at.prefix)
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return at, errors.New("the parameters cannot be read: what is special in a value is written as %XX")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		set, known := parameters[name]
		if !known {
			return at, fmt.Errorf("parameter %q is not known; there are %s", name, strings.Join(slices.Sorted(maps.Keys(parameters)), ", "))
		}
		if len(values[name]) > 1 {
			return at, fmt.Errorf("parameter %q is given twice", name)
		}
		if err := set(&at, values[name][0]); err != nil {
			return at, fmt.Errorf("%s %q: %w", name, values[name][0], err)
		}
	}
	return at, nil
}
