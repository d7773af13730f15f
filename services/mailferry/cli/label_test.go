package cli_test

import (
	"slices"
	"testing"
)

func TestLabelsReplaceThoseThereAre(t *testing.T) {
	t.Parallel()
	f := &fake{}
	if r := newShell(t, f).run("account", "edit", "example.com/gmail-alice", "--label", "vip", "--label", "eu"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if got := f.updated[0].GetAccount().GetLabels(); !slices.Equal(got, []string{"vip", "eu"}) {
		t.Errorf("%q", got)
	}
	if r := newShell(t, f).run("account", "edit", "example.com/gmail-alice", "--label="); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if got := f.updated[1].GetAccount().GetLabels(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if got := newShell(t, f).run("account", "list", "empty.example", "--label", "vip"); got.code != 0 || got.out != "there are no accounts with the label vip\n" {
		t.Errorf("%+v", got)
	}
	if r := newShell(t, f).run("fetch", "--label", "vip"); r.code != 0 || f.fetched.GetLabel() != "vip" {
		t.Errorf("%+v %v", r, f.fetched)
	}
}
