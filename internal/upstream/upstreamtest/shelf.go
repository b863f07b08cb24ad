package upstreamtest

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// shelf keeps the stored objects of one kind. Their ids are kind-1, kind-2 and so on.
type shelf[T any] struct {
	kind string
	// noun and missing are for the error where there is no such object.
	noun, missing string

	mu      sync.Mutex
	made    int
	ids     []string
	objects map[string]T
}

// add stores what made makes of the new id.
func (s *shelf[T]) add(made func(id string) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	id := fmt.Sprintf("%s-%d", s.kind, s.made)
	if s.objects == nil {
		s.objects = map[string]T{}
	}
	s.ids = append(s.ids, id)
	s.objects[id] = made(id)
	return s.objects[id]
}

func (s *shelf[T]) get(id string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[id]
	return o, ok
}

func (s *shelf[T]) set(id string, o T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[id] = o
}

// find returns the object that the path names. Where there is none, it has answered.
func (s *shelf[T]) find(w http.ResponseWriter, r *http.Request) (T, bool) {
	o, ok := s.get(r.PathValue("id"))
	if !ok {
		fail(w, 404, s.missing, "there is no such "+s.noun)
	}
	return o, ok
}

// retrieve answers with the object that the path names.
func (s *shelf[T]) retrieve(w http.ResponseWriter, r *http.Request) {
	if o, ok := s.find(w, r); ok {
		answer(w, o)
	}
}

// list answers with all objects, the newest first.
func (s *shelf[T]) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	objects := make([]T, len(s.ids))
	for i, id := range s.ids {
		objects[i] = s.objects[id]
	}
	s.mu.Unlock()
	slices.Reverse(objects)
	answerList(w, objects)
}

// delete forgets the object that the path names.
func (s *shelf[T]) delete(w http.ResponseWriter, r *http.Request, object string) {
	if _, ok := s.find(w, r); !ok {
		return
	}
	id := r.PathValue("id")
	s.mu.Lock()
	delete(s.objects, id)
	s.ids = slices.DeleteFunc(s.ids, func(other string) bool { return other == id })
	s.mu.Unlock()
	answer(w, map[string]any{"id": id, "object": object, "deleted": true})
}

func answerList[T any](w http.ResponseWriter, objects []T) {
	answer(w, map[string]any{"object": "list", "data": objects, "has_more": false})
}
