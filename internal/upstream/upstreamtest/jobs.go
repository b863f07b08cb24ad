package upstreamtest

import "net/http"

// platform.openai.com/docs/api-reference/fine-tuning

type job struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Model  string `json:"model"`
	Status string `json:"status"`
}

func (s *Server) handleJobs(mux *http.ServeMux) {
	const jobs = "/v1/fine_tuning/jobs"
	mux.HandleFunc("POST "+jobs, s.createJob)
	mux.HandleFunc("GET "+jobs, s.jobs.list)
	mux.HandleFunc("GET "+jobs+"/{id}", s.jobs.retrieve)
	mux.HandleFunc("GET "+jobs+"/{id}/events", s.ofJob)
	mux.HandleFunc("GET "+jobs+"/{id}/checkpoints", s.ofJob)
	for verb, status := range map[string]string{"cancel": "cancelled", "pause": "paused", "resume": "queued"} {
		mux.HandleFunc("POST "+jobs+"/{id}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			if j, ok := s.jobs.find(w, r); ok {
				j.Status = status
				s.jobs.set(j.ID, j)
				answer(w, j)
			}
		})
	}
}

func (s *Server) createJob(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model        string `json:"model"`
		TrainingFile string `json:"training_file"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Model == "" || req.TrainingFile == "" {
		fail(w, 400, "missing_required_parameter", "model and training_file are required")
		return
	}
	answer(w, s.jobs.add(func(id string) job { return job{id, "fine_tuning.job", req.Model, "queued"} }))
}

// ofJob lists a job's events or checkpoints: it has none yet.
func (s *Server) ofJob(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.jobs.find(w, r); ok {
		answerList(w, []any{})
	}
}
