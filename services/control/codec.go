package control

import (
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// strictJSON is Connect's JSON codec but for two things: a field that is not known is refused, because a
// misspelt one that is passed over is an account that does something else than its owner meant; and an
// error never quotes a value, because the value may be a password.
type strictJSON struct{ name string }

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) IsBinary() bool { return false }

func (c strictJSON) Marshal(m any) ([]byte, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil, errNotProto(m)
	}
	return protojson.Marshal(msg)
}

func (c strictJSON) MarshalStable(m any) ([]byte, error) { return c.Marshal(m) }

func (c strictJSON) Unmarshal(data []byte, m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return errNotProto(m)
	}
	if len(data) == 0 {
		return errors.New("the body is empty: an empty request is {}")
	}
	if err := (protojson.UnmarshalOptions{RecursionLimit: 20}).Unmarshal(data, msg); err != nil {
		return errors.New(describeJSON(err))
	}
	return nil
}

func errNotProto(m any) error { return fmt.Errorf("%T is not a message", m) }

// describeJSON keeps of a protojson error what says where and what, and drops values.
func describeJSON(err error) string {
	text := err.Error()
	where := ""
	if m := reWhere.FindString(text); m != "" {
		where = " " + m
	}
	if m := reUnknown.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("unknown field %q%s", m[1], where)
	}
	if m := reField.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("a value that does not fit the field %q%s", m[1], where)
	}
	return "JSON that does not fit the request" + where
}

var (
	reWhere   = regexp.MustCompile(`\(line \d+:\d+\)`)
	reUnknown = regexp.MustCompile(`unknown field "([A-Za-z0-9_.-]{1,64})"`)
	reField   = regexp.MustCompile(`for (?:string|bool|int32|int64|uint32|uint64|enum|bytes|float|double) field ([A-Za-z0-9_]{1,64})`)
)
