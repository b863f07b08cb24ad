package config

// What validation knows, for the JSON Schema that is generated from it.
var (
	Algorithms     = algorithms
	Kinds          = kinds
	Modes          = modes
	DurationForm   = duration.String()
	SizeForm       = size.String()
	WebURL         = webURL.String()
	ClaimPathForm  = claimPath.String()
	PatternForm    = patternForm.String()
	SecretVersion  = secretVersion.String()
	Variable       = variable.String()
	Scope          = scope.String()
	ServiceAccount = serviceAccount.String()
	Project        = project.String()
	Location       = location.String()
	Pers           = pers
	StoreFailures  = storeFailures
	LimitName      = limitName.String()
	LimitStoreForm = limitStoreForm.String()
)

const (
	MaxFaults     = maxFaults
	MaxGroupRules = maxGroupRules
	MaxWhen       = maxWhen
	MaxGiven      = maxGiven
	MaxPattern    = maxPattern
	MaxLimits     = maxLimits
	MaxShared     = maxShared
)

// Defaults is a configuration of one issuer and one limit, with nothing given.
func Defaults() Config {
	c := Config{Issuers: make([]Issuer, 1), Limits: make([]Limit, 1)}
	c.setDefaults()
	return c
}
