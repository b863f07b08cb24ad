package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"llmgateway.dev/gateway/test/program"
)

// The peers come from their registries, in these versions.
const (
	litellmVersion = "1.99.4"
	portkeyVersion = "1.15.2"
	// Portkey takes any 1.x of its HTTP server; by those from 1.14 on its streams fail ("TypeError: immutable").
	honoVersion = "1.13.8"
)

// litellm is LiteLLM's proxy with one worker, a master key and one model. It logs what it does by default but
// for LITELLM_LOG=ERROR, which its documentation advises for production.
func litellm() *candidate {
	var dir string
	return &candidate{
		letter: "d", key: "litellm", name: "LiteLLM proxy, one worker", short: "LiteLLM", version: litellmVersion, slow: true,
		install: func(ctx context.Context, _ *candidate) (err error) {
			dir, err = cache.Install("litellm-"+litellmVersion, func(dir string) error {
				if err := program.Run(ctx, dir, nil, "python3", "-m", "venv", dir); err != nil {
					return err
				}
				return program.Run(ctx, dir, nil, filepath.Join(dir, "bin/python"), "-m", "pip", "install", "--quiet", "litellm[proxy]=="+litellmVersion)
			})
			return err
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			port, err := program.FreePort()
			if err != nil {
				return nil, err
			}
			config := filepath.Join(dir, "config-"+port+".yaml")
			text := fmt.Sprintf(`model_list:
  - model_name: gpt-4-turbo
    litellm_params: {model: openai/gpt-4-turbo-2024-04-09, api_base: "http://%s/v1", api_key: none}
general_settings: {master_key: sk-bench}
litellm_settings: {num_retries: 0, request_timeout: 60}
`, upstream)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				return nil, err
			}
			env := environment("LITELLM_LOG=ERROR", "LITELLM_MODE=PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False")
			p, err := start("litellm", env, filepath.Join(dir, "bin/python"), filepath.Join(dir, "bin/litellm"),
				"--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", "1")
			if err != nil {
				return nil, err
			}
			e := endpoint{address: "127.0.0.1:" + port, path: chatPath, headers: map[string]string{"Authorization": "Bearer sk-bench"}}
			i := &instance{endpoint: e, process: p, close: func() { os.Remove(config) }}
			return i, p.ready(ctx, "http://"+e.address+"/health/liveliness")
		},
	}
}

// portkey is Portkey's gateway, which is told by headers where to go.
func portkey() *candidate {
	var dir string
	return &candidate{
		letter: "e", key: "portkey", name: "Portkey gateway", short: "Portkey", version: portkeyVersion,
		install: func(ctx context.Context, _ *candidate) (err error) {
			dir, err = cache.Install("portkey-"+portkeyVersion, func(dir string) error {
				for name, text := range map[string]string{
					"package.json": `{"dependencies":{"@portkey-ai/gateway":"` + portkeyVersion + `"},"overrides":{"@hono/node-server":"` + honoVersion + `"}}`,
					"loopback.cjs": onLoopback,
				} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
						return err
					}
				}
				return program.Run(ctx, dir, nil, "npm", "install", "--no-audit", "--no-fund", "--prefix", dir)
			})
			return err
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			port, err := program.FreePort()
			if err != nil {
				return nil, err
			}
			p, err := start("portkey", environment("NODE_ENV=production", "TRUSTED_CUSTOM_HOSTS=127.0.0.1"), "node",
				"--require", filepath.Join(dir, "loopback.cjs"), filepath.Join(dir, "node_modules/@portkey-ai/gateway/build/start-server.js"), "--headless", "--port="+port)
			if err != nil {
				return nil, err
			}
			e := endpoint{address: "127.0.0.1:" + port, path: chatPath, headers: map[string]string{
				"Authorization":         "Bearer none",
				"x-portkey-provider":    "openai",
				"x-portkey-custom-host": "http://" + upstream + "/v1",
			}}
			return &instance{endpoint: e, process: p}, p.ready(ctx, "http://"+e.address+"/")
		},
	}
}

// onLoopback keeps Portkey, which has no option for it, off other interfaces.
const onLoopback = `const { Server } = require("net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, port, "127.0.0.1", ...rest.filter((it) => typeof it === "function"));
};
`

// nginx passes everything on and looks at nothing: the floor.
func nginx() *candidate {
	var dir string
	return &candidate{
		letter: "f", key: "nginx", name: "nginx, proxy_pass", short: "nginx",
		install: func(ctx context.Context, c *candidate) (err error) {
			if dir, err = cache.Debian(ctx, "nginx", "nginx"); err != nil {
				return err
			}
			c.version, err = output(ctx, "sh", "-c", filepath.Join(dir, "usr/sbin/nginx")+" -v 2>&1")
			c.version = strings.TrimPrefix(c.version, "nginx version: nginx/")
			return err
		},
		start: func(ctx context.Context, upstream string) (*instance, error) {
			port, err := program.FreePort()
			if err != nil {
				return nil, err
			}
			home, err := os.MkdirTemp("", "bench-nginx-")
			if err != nil {
				return nil, err
			}
			text := strings.NewReplacer("$HOME", home, "$PORT", port, "$UPSTREAM", upstream).Replace(nginxConf)
			if err := os.WriteFile(filepath.Join(home, "nginx.conf"), []byte(text), 0o600); err != nil {
				return nil, err
			}
			p, err := start("nginx", environment(), filepath.Join(dir, "usr/sbin/nginx"), "-p", home, "-c", filepath.Join(home, "nginx.conf"), "-e", "stderr")
			if err != nil {
				return nil, err
			}
			e := endpoint{address: "127.0.0.1:" + port, path: chatPath}
			i := &instance{endpoint: e, process: p, close: func() { os.RemoveAll(home) }}
			return i, p.ready(ctx, "http://"+e.address+"/health")
		},
	}
}

// nginxConf keeps connections, and passes streams on as they come.
const nginxConf = `daemon off;
worker_processes auto;
worker_rlimit_nofile 8192;
pid $HOME/pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path $HOME/body;
  proxy_temp_path $HOME/proxy;
  fastcgi_temp_path $HOME/fastcgi;
  uwsgi_temp_path $HOME/uwsgi;
  scgi_temp_path $HOME/scgi;
  client_max_body_size 32m;
  keepalive_requests 1000000000;
  upstream mock { server $UPSTREAM; keepalive 2000; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:$PORT backlog=4096;
    location / {
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }
  }
}
`
