package upstreamtest

import (
	"io"
	"mime/multipart"
	"net/http"
)

// platform.openai.com/docs/api-reference/files and …/uploads

type file struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Bytes    int    `json:"bytes"`
	Created  int    `json:"created_at"`
	Filename string `json:"filename"`
	Purpose  string `json:"purpose"`
	Status   string `json:"status"`
	content  []byte
}

// upload is a file that comes in parts.
type upload struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Bytes    int    `json:"bytes"`
	Created  int    `json:"created_at"`
	Expires  int    `json:"expires_at"`
	Filename string `json:"filename"`
	Purpose  string `json:"purpose"`
	Status   string `json:"status"`
	File     *file  `json:"file"`
}

type part struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int    `json:"created_at"`
	Upload  string `json:"upload_id"`
	data    []byte
}

func (s *Server) handleFiles(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/files", s.createFile)
	mux.HandleFunc("GET /v1/files", s.files.list)
	mux.HandleFunc("GET /v1/files/{id}", s.files.retrieve)
	mux.HandleFunc("GET /v1/files/{id}/content", func(w http.ResponseWriter, r *http.Request) {
		if f, ok := s.files.find(w, r); ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Write(f.content)
		}
	})
	mux.HandleFunc("DELETE /v1/files/{id}", func(w http.ResponseWriter, r *http.Request) { s.files.delete(w, r, "file") })
}

func (s *Server) createFile(w http.ResponseWriter, r *http.Request) {
	form, ok := readForm(w, r, "purpose", "file")
	if !ok {
		return
	}
	answer(w, s.keepFile(form.Value["purpose"][0], form.File["file"][0].Filename, contents(form.File["file"][0])))
}

func (s *Server) keepFile(purpose, name string, content []byte) file {
	return s.files.add(func(id string) file {
		return file{id, "file", len(content), created, name, purpose, "processed", content}
	})
}

func (s *Server) handleUploads(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/uploads", s.createUpload)
	mux.HandleFunc("POST /v1/uploads/{id}/parts", s.addPart)
	mux.HandleFunc("POST /v1/uploads/{id}/complete", s.completeUpload)
	mux.HandleFunc("POST /v1/uploads/{id}/cancel", func(w http.ResponseWriter, r *http.Request) {
		if u, ok := s.uploads.find(w, r); ok {
			u.Status = "cancelled"
			s.uploads.set(u.ID, u)
			answer(w, u)
		}
	})
}

func (s *Server) createUpload(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Bytes    int    `json:"bytes"`
		Filename string `json:"filename"`
		MIMEType string `json:"mime_type"`
		Purpose  string `json:"purpose"`
	}
	if !read(w, r, &req) {
		return
	}
	if req.Bytes == 0 || req.Filename == "" || req.MIMEType == "" || req.Purpose == "" {
		fail(w, 400, "missing_required_parameter", "bytes, filename, mime_type and purpose are required")
		return
	}
	answer(w, s.uploads.add(func(id string) upload {
		return upload{id, "upload", req.Bytes, created, created + 3600, req.Filename, req.Purpose, "pending", nil}
	}))
}

func (s *Server) addPart(w http.ResponseWriter, r *http.Request) {
	u, ok := s.uploads.find(w, r)
	if !ok {
		return
	}
	form, ok := readForm(w, r, "data")
	if !ok {
		return
	}
	answer(w, s.parts.add(func(id string) part {
		return part{id, "upload.part", created, u.ID, contents(form.File["data"][0])}
	}))
}

func (s *Server) completeUpload(w http.ResponseWriter, r *http.Request) {
	u, ok := s.uploads.find(w, r)
	if !ok {
		return
	}
	var req struct {
		PartIDs []string `json:"part_ids"`
	}
	if !read(w, r, &req) {
		return
	}
	var whole []byte
	for _, id := range req.PartIDs {
		p, ok := s.parts.get(id)
		if !ok || p.Upload != u.ID {
			fail(w, 400, "part_not_found", "a part is not of this upload")
			return
		}
		whole = append(whole, p.data...)
	}
	if len(whole) != u.Bytes || u.Status != "pending" {
		fail(w, 400, "invalid_upload", "the parts do not make the file that was announced")
		return
	}
	f := s.keepFile(u.Purpose, u.Filename, whole)
	u.Status, u.File = "completed", &f
	s.uploads.set(u.ID, u)
	answer(w, u)
}

// readForm reads multipart/form-data in which each of the named fields, values or files, stands
// exactly once.
func readForm(w http.ResponseWriter, r *http.Request, required ...string) (*multipart.Form, bool) {
	if err := r.ParseMultipartForm(64 << 20); err != nil {
		fail(w, 400, "invalid_multipart_form_data", "the body is not the multipart/form-data that this path takes")
		return nil, false
	}
	for _, name := range required {
		if n := len(r.MultipartForm.Value[name]) + len(r.MultipartForm.File[name]); n != 1 {
			fail(w, 400, "missing_required_parameter", name+" must be given once")
			return nil, false
		}
	}
	return r.MultipartForm, true
}

// contents of a part; the form is in memory, where nothing fails.
func contents(part *multipart.FileHeader) []byte {
	f, err := part.Open()
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(f)
	return b
}
