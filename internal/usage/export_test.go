package usage

import "reflect"

// Names are the members that Read looks for in a record.
func Names() []string {
	names := []string{"time", "httpRequest"}
	for f := range reflect.TypeFor[fields]().Fields() {
		names = append(names, f.Tag.Get("json"))
	}
	return names
}

var Compact, Money = compact, money

func (u USD) Round(decimals int) string { return u.round(decimals) }
