import time
def test_ref(reference):
    t=time.time()
    print(reference.ended.out, reference.ended.err, reference.cli.calls()[:5])
    e=reference.cli("run", reference.board, "--store", reference.store)
    print(time.time()-t, e)
    assert 0
